"""Whether costly rows make cheap ones wait: queues, batches and fairness count cost, not rows.

    python -m benchmarks.costs [--quick] [--json FILE] [--only trickle] [--folder DIR]

`trickle` counts the costly rows that a cheap one waits for, beside its latency: on a busy machine a single batch may
take ten times its median. The batch limit is the cost of one long row; it bounds how long a batch runs, and so how
long a cheap row waits.

Two models on one backbone, an encoder of sequences: a row costs its padded length, as a text its tokens. The scheduler
and the executor are those of the service; they run in this process, without gRPC.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.figures import Figure, Options, Part, in_turn, median_ratio, percentile, run_parts
from benchmarks.harness.load import runner
from benchmarks.harness.sequences import SequenceInputSpec, encoder, version
from inference_service.batching.batch_runner import RunBatch
from inference_service.batching.device_threads import DeviceThreads, set_torch_threads
from inference_service.batching.queue_capacity import CostLimits
from inference_service.batching.queue_entry import Part as Slice
from inference_service.batching.scheduler import Scheduler
from inference_service.execution.executor import Executor
from inference_service.execution.row_threads import RowThreads, has_siblings
from inference_service.execution.work import Answer, Output, Work
from inference_service.models.resident import ResidentVersion
from model_store.modalities import Rows, prepared

LONG, SHORT = 500, 5
_SPEC = SequenceInputSpec(width=256, buckets=(5, 20, 50, 200, 500))
_NUM_LAYERS = 4
_LABELS = ("yes", "no")
_IN_FLIGHT = 16
_RATE = 20.0  # short rows a second, at random moments
_SCORES = frozenset({Output.SCORES})
_SHORT_SECONDS = 0.002  # as the service has it on a CPU


@dataclass(frozen=True)
class Parts:
    """The parts of a service that this runs: an executor in its threads, and versions on one backbone."""

    executor: Executor
    device_threads: DeviceThreads
    long: ResidentVersion
    short: ResidentVersion


@dataclass(frozen=True)
class Counting:
    """What the scheduler is told that a row costs: its own cost, or 1."""

    by_cost: bool
    max_batch_cost: int

    def scheduler(self, run: RunBatch[Work, Answer], device_threads: DeviceThreads) -> Scheduler[Work, Answer]:
        """Return a scheduler with room for all of the flood."""
        room = 4 * _IN_FLIGHT * LONG
        limits = {_SPEC.kind: CostLimits(self.max_batch_cost, room)}
        return Scheduler(run, device_threads, limits, short_seconds=_SHORT_SECONDS)

    def placed(self, rows: Rows) -> tuple[object, int]:
        """Return the form and the cost of a row."""
        return (_SPEC.form(rows), _SPEC.cost(rows)) if self.by_cost else (None, 1)


COST = Counting(by_cost=True, max_batch_cost=LONG)
ROWS = Counting(by_cost=False, max_batch_cost=32)


@dataclass
class Flood:
    """A flood of long rows and a trickle of short ones through one scheduler."""

    parts: Parts
    counting: Counting
    seconds: float
    short_version: ResidentVersion
    latencies: list[float] = field(default_factory=list)
    num_long_meanwhile: list[int] = field(default_factory=list)
    run_seconds: list[float] = field(default_factory=list)
    num_long: int = 0

    def run(self) -> Flood:
        """Run both for the given seconds."""
        runner()(self._run())
        return self

    @property
    def ratio(self) -> float:
        """The 99th percentile of what a short row took, over the median of a long row's run time."""
        return percentile(self.latencies, 0.99) / statistics.median(self.run_seconds)

    @property
    def rate(self) -> float:
        """Long rows a second."""
        return self.num_long / self.seconds

    async def _run(self) -> None:
        self._scheduler = self.counting.scheduler(self._timed, self.parts.device_threads)
        self._over = asyncio.Event()
        serving = asyncio.create_task(self._scheduler.run())
        flood = [asyncio.create_task(self._flood()) for _ in range(_IN_FLIGHT)]
        await self._trickle()
        self._over.set()
        await asyncio.gather(*flood)
        serving.cancel()
        await asyncio.wait([serving])

    def _timed(self, parts: Sequence[Slice[Work]], wants_next: Callable[[], object] | None) -> Sequence[Answer]:
        began = time.perf_counter()
        answers = self.parts.executor.run(parts, wants_next)
        num_long = sum(part.num_rows for part in parts if _SPEC.cost(part.work.rows) == LONG)
        if num_long:
            self.run_seconds.append((time.perf_counter() - began) / num_long)
        return answers

    async def _flood(self) -> None:
        rows = _rows(LONG)
        while not self._over.is_set():
            await self._ask(self.parts.long, rows)
            self.num_long += 1

    async def _trickle(self) -> None:
        rows, moments, began = _rows(SHORT), random.Random(0), time.perf_counter()
        async with asyncio.TaskGroup() as asking:
            for at in itertools.accumulate(moments.expovariate(_RATE) for _ in range(int(_RATE * self.seconds))):
                await asyncio.sleep(began + at - time.perf_counter())
                asking.create_task(self._ask_short(rows))

    async def _ask_short(self, rows: Rows) -> None:
        began, num_long = time.perf_counter(), self.num_long
        await self._ask(self.short_version, rows)
        self.latencies.append(time.perf_counter() - began)
        self.num_long_meanwhile.append(self.num_long - num_long)

    async def _ask(self, asked: ResidentVersion, rows: Rows) -> None:
        form, row_cost = self.counting.placed(rows)
        with self._scheduler.admit(_SPEC.kind, asked.stages[0], len(rows), asked.name.model_id) as entry:
            await self._scheduler.answer(entry, Work(asked, rows, _SCORES), form, row_cost)


def trickle(folder: Path, options: Options) -> Iterator[Figure]:  # noqa: ARG001  nothing is stored
    """A flood of rows of cost 500 beside a trickle of rows of cost 5, on one backbone."""
    rounds, seconds = (1, 8.0) if options.quick else (3, 20.0)
    with _parts() as parts:
        floods = in_turn(
            rounds,
            lambda: Flood(parts, COST, seconds, parts.short).run(),
            lambda: Flood(parts, COST, seconds, parts.long).run(),
            lambda: Flood(parts, ROWS, seconds, parts.short).run(),
        )
    two, one, rows = floods
    run_seconds = [seconds for each in (*two, *one) for seconds in each.run_seconds]
    yield Figure("a row of cost 500 on the device", 1000 * statistics.median(run_seconds), "ms")
    what = "p99 / a row of cost 500 on the device"
    for of, found, bar in (
        ("another model", two, "<= 2"),
        ("the same model", one, "<= 2"),
        ("another model, counted in rows", rows, ""),
    ):
        yield Figure(f"a trickle of {of}: {what}", statistics.median(each.ratio for each in found), "x", bar)
    meanwhile = [number for each in (*two, *one) for number in each.num_long_meanwhile]
    p99s = [percentile(each.latencies, 0.99) / percentile(each.run_seconds, 0.99) for each in (*two, *one)]
    yield Figure("a trickle: p99 / p99 of a row of cost 500 on the device", statistics.median(p99s), "x")
    yield Figure("rows of cost 500 answered while one of cost 5 waits, p99", percentile(meanwhile, 0.99), "", "<= 1")
    ratio = median_ratio([each.rate for each in two], [each.rate for each in rows])
    yield Figure("rows of the flood a second: counted by cost / counted in rows", ratio, "x")


@contextmanager
def _parts() -> Iterator[Parts]:
    """Build what the service builds on a CPU."""
    num_threads = torch.get_num_threads()
    with (
        closing(RowThreads(num_threads, has_siblings=has_siblings())) as row_threads,
        DeviceThreads(num_threads, 2) as device_threads,
    ):
        set_torch_threads(1)
        backbone = encoder(_SPEC, _NUM_LAYERS)
        versions = [version(model, _SPEC, backbone, _LABELS) for model in ("long", "short")]
        yield Parts(Executor(torch.device("cpu"), row_threads), device_threads, *versions)


def _rows(length: int) -> Rows:
    example = np.random.default_rng(0).standard_normal((length, _SPEC.width), np.float32)
    return prepared(_SPEC, [example], length)


PARTS: dict[str, Part] = {part.__name__: part for part in (trickle,)}

if __name__ == "__main__":
    run_parts("costs", __doc__ or "", PARTS)
