"""Runs batches on the device, answers their entries, and learns from how long they took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from inference_service.batching.batch_forming import LONG_SECONDS
from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.in_flight import InFlight, Signal
from inference_service.batching.queue_entry import Batch, Part, cost_of, count_rows, split
from inference_service.batching.queues import Queue
from inference_service.errors import DeviceFailed, OutOfDeviceMemory

_log = structlog.get_logger()

W = TypeVar("W")
A = TypeVar("A")
_Timed = tuple[Sequence[A], float, float]
RunBatch = Callable[[Sequence[Part[W]], Callable[[], object] | None], Sequence[A]]


@dataclass
class Counters:
    """Counts since the start; `num_late` rows ran and were answered after their deadline."""

    num_batches: int = 0
    num_rows: int = 0
    num_expired: int = 0
    num_cancelled: int = 0
    num_refused: int = 0
    num_late: int = 0
    num_splits: int = 0
    num_failed_batches: int = 0


class BatchRunner(Generic[W, A]):
    """Runs batches by `run_batch` in `device_threads`.

    `run_batch` returns one answer for each part; where it raises, the requests of that batch fail. A batch that the
    device's memory does not hold runs in halves. A batch that is expected to take less than `short_seconds` of `clock`
    runs on the event loop where the device is free: the way to a thread and back takes longer.
    """

    def __init__(
        self,
        run_batch: RunBatch[W, A],
        device_threads: DeviceThreads,
        in_flight: InFlight,
        *,
        short_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._run_batch = run_batch
        self._device_threads = device_threads
        self._in_flight = in_flight
        self._short_seconds = short_seconds
        self._clock = clock
        self.counters = Counters()
        self.last_queue: Queue[W, A] | None = None

    async def start(self, queue: Queue[W, A], batch: Batch[W, A]) -> None:
        """Start a batch, or run it at once where it is short; it ends in the background."""
        expected = queue.latency.expected_seconds(cost_of(batch))
        if queue.latency.has_measured and expected < self._short_seconds and not len(self._in_flight):
            running = self._device_threads.run_here(self._timed, batch, None)
            if running.done():
                await self._finish(queue, batch, running)
            else:
                self._in_flight.begin(lambda _: self._finish(queue, batch, running), expected)
        else:
            may_overlap = expected >= LONG_SECONDS
            self._in_flight.begin(lambda signal: self._run(queue, batch, signal if may_overlap else None), expected)

    async def _run(self, queue: Queue[W, A], batch: Batch[W, A], wants_next: Signal | None = None) -> None:
        await self._finish(queue, batch, self._device_threads.submit_batch(self._timed, batch, wants_next))

    def _timed(self, batch: Batch[W, A], wants_next: Signal | None) -> _Timed[A]:
        started = self._clock()
        answers = self._run_batch([part for _, part in batch], wants_next)
        return answers, started, self._clock()

    async def _finish(
        self, queue: Queue[W, A], batch: Batch[W, A], running: Future[_Timed[A]] | asyncio.Future[_Timed[A]]
    ) -> None:
        """Answer a batch once it has run; raise DeviceFailed where the device can run nothing any more."""
        if not running.done():
            running = asyncio.wrap_future(running)
            await asyncio.wait([running])  # unlike `await running`, this does not raise what the batch raised
        error = running.exception()
        if isinstance(error, OutOfDeviceMemory) and count_rows(batch) > 1:
            await self._run_halves(queue, batch)
        elif error is not None:
            self._fail(batch, error)
        else:
            answers, started, ended = running.result()
            self._learn(queue, batch, self._in_flight.device_seconds(started, ended))
            self._answer(batch, answers)

    def _learn(self, queue: Queue[W, A], batch: Batch[W, A], seconds: float) -> None:
        entry, _ = batch[0]
        queue.learn(cost_of(batch), entry.row_cost, seconds)
        self.last_queue = queue

    def _fail(self, batch: Batch[W, A], error: BaseException) -> None:
        self.counters.num_failed_batches += 1
        for entry, _ in batch:
            entry.fail(error)
        if isinstance(error, DeviceFailed):
            raise error

    async def _run_halves(self, queue: Queue[W, A], batch: Batch[W, A]) -> None:
        """Run a batch that the device's memory did not hold in two parts, one after the other."""
        num_rows = count_rows(batch)
        first, second = split(batch, max(1, num_rows // 2))
        queue.max_cost = cost_of(first)
        self.counters.num_splits += 1
        _log.warning("batch_split", num_rows=num_rows, max_cost=queue.max_cost)
        for half in (first, second):
            await self._run(queue, half)

    def _answer(self, batch: Batch[W, A], answers: Sequence[A]) -> None:
        now = time.monotonic()
        self.counters.num_batches += 1
        for (entry, part), answer in zip(batch, answers, strict=True):
            self.counters.num_rows += part.num_rows
            if entry.deadline is not None and entry.deadline < now:
                self.counters.num_late += part.num_rows
            entry.add(part.num_rows, answer)
