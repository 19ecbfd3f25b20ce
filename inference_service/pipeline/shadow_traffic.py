"""Runs requests that were answered on a shadow too, and compares: never in the way of a request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import structlog
import torch

from inference_service.batching.scheduler import Scheduler
from inference_service.errors import DeadlineExceeded, QueueFull
from inference_service.execution.work import Answer, Output, Work
from inference_service.lifecycle.lease import Shadow
from inference_service.lifecycle.traffic import ShadowCounts
from inference_service.models.resident import ResidentVersion
from inference_service.pipeline.decoder import Decoder
from inference_service.pipeline.examples import Examples
from model_store.architectures.activation import activated
from model_store.modalities import Rows
from model_store.modalities.spec import Numbers as Values
from model_store.tasks import Activation
from model_store.tasks.comparing import same_decisions

_log = structlog.get_logger()
_PRIORITY = 2**64  # behind every priority that a caller can choose
_SECONDS = 10.0
_MAX_SHARE = 16  # shadow rows take at most one part in this many of the room in the queue


class ShadowTraffic:
    """Runs shadows in the background: few rows at the same time, and none while the queue is over half full.

    The rows of a shadow have their own batches, behind all others. They fail no request, and delay a request at most by
    the batch that is running. The statistics of the version count these batches and rows, but no requests.
    """

    def __init__(self, scheduler: Scheduler[Work, Answer], decoder: Decoder) -> None:
        self._scheduler = scheduler
        self._decoder = decoder
        self._costs: Counter[str] = Counter()  # of the rows that run, by modality
        self._running: set[asyncio.Task[None]] = set()

    def begin(
        self, shadow: Shadow, version: ResidentVersion, given: Examples | Rows, rows: Rows, answer: Answer
    ) -> None:
        """Run a request on a shadow later, where that can be compared with a version's answer.

        `rows` are what the version's input spec made of what was given. A shadow with another input spec of the same
        modality prepares the given examples itself; rows that the caller prepared it cannot use.
        """
        kind, cost = version.input_spec.kind, len(rows) * version.input_spec.cost(rows)
        scores = _scores_of(version, answer)
        if scores is None:
            shadow.counts.num_skipped += 1
        elif self._is_busy(kind, cost):
            shadow.counts.num_dropped += 1
        else:
            task = asyncio.create_task(self._compare(shadow, version, given, rows, scores))
            self._running.add(task)
            self._costs[kind] += cost
            task.add_done_callback(lambda done: self._end(done, kind, cost))

    def _is_busy(self, kind: str, cost: int) -> bool:
        capacity = self._scheduler.capacity(kind)
        is_half_full = 2 * capacity.waiting_cost > capacity.max_cost
        return is_half_full or self._costs[kind] + cost > max(1, capacity.max_cost // _MAX_SHARE)

    def _end(self, task: asyncio.Task[None], kind: str, cost: int) -> None:
        self._running.discard(task)
        self._costs[kind] -= cost

    async def _compare(
        self, shadow: Shadow, version: ResidentVersion, given: Examples | Rows, rows: Rows, scores: Values
    ) -> None:
        lease, counts = shadow.lease(), shadow.counts
        if lease is None:
            counts.num_dropped += 1
            return
        with lease as resident:
            has_rows = resident.input_spec.rows_key == version.input_spec.rows_key
            can_prepare = isinstance(given, Examples) and resident.input_spec.kind == version.input_spec.kind
            if not (has_rows or can_prepare) or not _is_comparable(resident, version):
                counts.num_skipped += 1
                return
            try:
                if not has_rows and isinstance(given, Examples):
                    model = str(resident.name)
                    rows = await self._decoder.rows(given.examples, resident.input_spec, given.field_of, model)
                found = await self._run(resident, rows)
            except (QueueFull, DeadlineExceeded):
                counts.num_dropped += 1
            except Exception as error:  # noqa: BLE001  the outermost frame of a task that nobody awaits
                counts.num_failed += 1
                _log.warning("shadow_failed", version=str(resident.name), reason=str(error), exc_info=error)
            else:
                resident.statistics.num_rows += len(rows)
                found = _by_label(found, resident.names, version.names)
                _count(counts, version.activation[0], scores, found)

    async def _run(self, version: ResidentVersion, rows: Rows) -> Values:
        deadline = time.monotonic() + _SECONDS
        work = Work(version, rows, frozenset({Output.SCORES}))
        model, spec = ("shadow", version.name), version.input_spec
        with self._scheduler.admit(spec.kind, version, len(rows), model, deadline, _PRIORITY) as entry:
            parts = await self._scheduler.answer(entry, work, spec.form(rows), spec.cost(rows))
            return np.concatenate([part[Output.SCORES] for part in parts])


def _scores_of(version: ResidentVersion, answer: Answer) -> Values | None:
    """Return the numbers [n, outputs] behind the activation; None for an answer of embeddings alone."""
    if Output.SCORES in answer:
        return answer[Output.SCORES]
    if Output.LOGITS not in answer:
        return None
    scores: Values = activated(torch.from_numpy(answer[Output.LOGITS]), *version.activation).numpy()
    return scores


def _is_comparable(shadow: ResidentVersion, version: ResidentVersion) -> bool:
    """Say whether both have the same task, and the same targets: a missing value is no 0."""
    if shadow.task is None or version.task is None:
        return False
    has_same_names = set(shadow.names) == set(version.names)
    return shadow.task.kind == version.task.kind and (has_same_names or version.task.activation != "identity")


def _by_label(scores: Values, labels: Sequence[str], wanted: Sequence[str]) -> Values:
    """Return the scores in the order of other labels, 0 for a missing label; the remaining scores go last."""
    if labels == wanted:
        return scores
    column = {label: position for position, label in enumerate(labels)}
    shared = [scores[:, column[label]] if label in column else np.zeros(len(scores), scores.dtype) for label in wanted]
    return np.stack([*shared, *(scores[:, column[label]] for label in labels if label not in set(wanted))], axis=1)


def _count(counts: ShadowCounts, activation: Activation, scores: Values, found: Values) -> None:
    padded = np.pad(scores, ((0, 0), (0, found.shape[1] - scores.shape[1])))
    counts.num_compared += 1
    counts.num_rows += len(scores)
    counts.num_agreeing_rows += int(same_decisions(activation, found, padded).sum())
    counts.max_score_difference = max(counts.max_score_difference, float(np.abs(padded - found).max()))
