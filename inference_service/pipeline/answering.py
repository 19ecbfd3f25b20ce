"""From a leased version and the content of a request to its answer: room in the queue, rows, device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference_service.batching.queue_entry import DEFAULT_PRIORITY
from inference_service.batching.scheduler import Scheduler
from inference_service.execution.work import Answer, Output, Work
from inference_service.lifecycle.lease import Shadow
from inference_service.models.resident import ResidentVersion
from inference_service.models.statistics import RequestTimes
from inference_service.pipeline.decoder import Decoder
from inference_service.pipeline.examples import Examples
from inference_service.pipeline.response_cache import ResponseCache, cache_key
from inference_service.pipeline.shadow_traffic import ShadowTraffic
from model_store.modalities import Rows


@dataclass(frozen=True)
class Urgency:
    """The deadline of an answer, by time.monotonic, and its priority: the lowest number runs first."""

    deadline: float | None = None
    priority: int = DEFAULT_PRIORITY


class Pipeline:
    """Answers requests, and counts them in their version's statistics.

    With a `cache`, a repeated request is answered from it, and is not run on a shadow.
    """

    def __init__(
        self,
        scheduler: Scheduler[Work, Answer],
        decoder: Decoder,
        shadow_traffic: ShadowTraffic,
        cache: ResponseCache | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._decoder = decoder
        self._shadow_traffic = shadow_traffic
        self._cache = cache

    async def answer(
        self,
        version: ResidentVersion,
        given: Examples | Rows,
        outputs: frozenset[Output],
        urgency: Urgency,
        shadow: Shadow | None = None,
    ) -> Answer:
        """Return the outputs, a row for each that was given, in order.

        Rows must be as the version's input spec prepares them. Raises InvalidInput naming each example that cannot be
        used, QueueFull, DeadlineExceeded or OutOfDeviceMemory. A `shadow` is run after that.
        """
        with version.statistics.request(len(given)) as times:
            if self._cache is None:
                return await self._run(version, given, outputs, urgency, shadow, times)
            started = time.perf_counter_ns()
            key = cache_key(version, given, outputs)
            answer = self._cache.find(key)
            times.cache_ns, times.is_cached = time.perf_counter_ns() - started, answer is not None
            if answer is None:
                answer = await self._run(version, given, outputs, urgency, shadow, times)
                self._cache.add(key, answer)
            return answer

    async def _run(
        self,
        version: ResidentVersion,
        given: Examples | Rows,
        outputs: frozenset[Output],
        urgency: Urgency,
        shadow: Shadow | None,
        times: RequestTimes,
    ) -> Answer:
        stage, spec, model = version.stages[0], version.input_spec, version.name.model_id
        with self._scheduler.admit(spec.kind, stage, len(given), model, urgency.deadline, urgency.priority) as entry:
            rows = await entry.prepare(self._decoded(version, given, times)) if isinstance(given, Examples) else given
            drift = version.drift if version.drift is not None and version.drift.is_due else None
            wanted = outputs if drift is None else outputs | {Output.EMBEDDING, Output.SCORES}
            work = Work(version, rows, wanted, times)
            answer = _joined(await self._scheduler.answer(entry, work, spec.form(rows), spec.cost(rows)))
            if drift is not None:
                drift.add(answer[Output.EMBEDDING], answer[Output.SCORES])
                answer = {output: answer[output] for output in outputs}
        if shadow is not None:
            self._shadow_traffic.begin(shadow, version, given, rows, answer)
        return answer

    async def _decoded(self, version: ResidentVersion, given: Examples, times: RequestTimes) -> Rows:
        started = time.perf_counter_ns()
        rows = await self._decoder.rows(given.examples, version.input_spec, given.field_of, version.name.model_id)
        times.prepare_ns = time.perf_counter_ns() - started
        return rows


def _joined(answers: Sequence[Answer]) -> Answer:
    """Put the parts of a request that was split into one."""
    if len(answers) == 1:
        return answers[0]
    return {output: np.concatenate([answer[output] for answer in answers]) for output in answers[0]}
