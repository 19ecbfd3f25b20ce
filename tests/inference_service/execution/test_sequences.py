"""Rows that differ in length, and so in form and cost, through the scheduler and the executor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import torch

from benchmarks.harness.sequences import SequenceInputSpec, encoder, version
from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.queue_capacity import CostLimits
from inference_service.batching.queue_entry import Part
from inference_service.batching.scheduler import Scheduler
from inference_service.execution.executor import Executor
from inference_service.execution.work import Answer, Output, Work
from inference_service.models.resident import ResidentVersion
from model_store.modalities import Rows, prepared
from tests.inference_service.loops import on_a_loop

SPEC = SequenceInputSpec(width=16, buckets=(4, 16, 64))
LENGTHS = (1, 3, 4, 5, 16, 17, 40, 64, 2, 60)
SCORES = frozenset({Output.SCORES})
MAX_BATCH_COST = 100


def sequences(*lengths: int) -> Rows:
    """Return sequences of these lengths as one request's rows."""
    numbers = np.random.default_rng(sum(lengths))
    return prepared(SPEC, [numbers.standard_normal((length, 16), np.float32) for length in lengths], 64)


class Recording:
    """An executor that keeps the costs of each batch's rows."""

    def __init__(self) -> None:
        self.executor = Executor(torch.device("cpu"))
        self.batches: list[list[int]] = []

    def run(self, parts: Sequence[Part[Work]], wants_next: Callable[[], object] | None = None) -> list[Answer]:
        """Run a batch."""
        self.batches.append([SPEC.cost(part.work.rows) for part in parts for _ in range(part.num_rows)])
        return self.executor.run(parts, wants_next)

    def alone(self, asked: ResidentVersion, rows: Rows) -> Answer:
        """Run one request alone."""
        return self.executor.run([Part(Work(asked, rows, SCORES), 0, len(rows))])[0]


@on_a_loop
async def test_batches_have_rows_of_one_form_within_the_limit_of_cost() -> None:
    """Two models on one backbone share them, and each row has the answer that it has alone."""
    recording, backbone = Recording(), encoder(SPEC, num_layers=2)
    versions = [version(model, SPEC, backbone, ("yes", "no")) for model in ("one", "two")]
    with DeviceThreads(1) as threads:
        scheduler = Scheduler[Work, Answer](
            recording.run, threads, {SPEC.kind: CostLimits(batch=MAX_BATCH_COST, queue=10_000)}
        )

        async def ask(asked: ResidentVersion, rows: Rows) -> Answer:
            with scheduler.admit(SPEC.kind, asked.stages[0], len(rows), asked.name.model_id) as entry:
                (answer,) = await scheduler.answer(entry, Work(asked, rows, SCORES), SPEC.form(rows), SPEC.cost(rows))
                return answer

        requests = [(asked, sequences(length)) for length in LENGTHS for asked in versions]
        serving = asyncio.create_task(scheduler.run())
        answers = await asyncio.gather(*(ask(*request) for request in requests))
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
    assert all(len(set(costs)) == 1 and sum(costs) <= MAX_BATCH_COST for costs in recording.batches)
    assert sum(map(len, recording.batches)) == len(requests)
    assert len(recording.batches) < len(requests)
    for (asked, rows), answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer[Output.SCORES], recording.alone(asked, rows)[Output.SCORES], atol=1e-5)


def test_padding_changes_no_answer() -> None:
    """A short sequence beside a long one of the same request is padded, and masked."""
    recording = Recording()
    asked = version("one", SPEC, encoder(SPEC, num_layers=2), ("yes", "no"))
    short, long = sequences(3), sequences(50)
    together = recording.alone(asked, SPEC.collate([short, long]))[Output.SCORES]
    alone = [recording.alone(asked, rows)[Output.SCORES] for rows in (short, long)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
