"""Runs batches on the device, answers their entries, and learns from how long they took."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import structlog

from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.latency_model import StageHistory
from inference_service.batching.queue_entry import Batch, Part, cost_of, halves
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
    """Runs batches by `run_batch` in `device_threads`; `wants_next` is set while the device can take another one.

    `run_batch` returns one answer for each part; where it raises, the requests of that batch fail. A batch that the
    device's memory does not hold runs in halves. A batch lets the next begin beside it, as soon as a core may
    idle. A batch that is expected to take less than `short_seconds` of `clock` runs on the event loop where the device
    is free: the way to a thread and back takes longer.
    """

    def __init__(
        self, run_batch: RunBatch[W, A], device_threads: DeviceThreads, short_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._run_batch = run_batch
        self._device_threads = device_threads
        self._short_seconds = short_seconds
        self._clock = clock
        self.counters = Counters()
        self.wants_next = asyncio.Event()
        self.wants_next.set()
        self._numbers = itertools.count()
        self._running: dict[int, float] = {}  # the expected seconds of each batch on the device, oldest first
        self._newest_lets = True
        self._since = 0.0  # when the oldest got the device
        self._measured_until = 0.0
        self.last_history: StageHistory | None = None

    def __len__(self) -> int:
        return len(self._running)

    def free_at(self, margin: float = 1.0) -> float:
        """Return when a batch that comes now gets the device, by time.monotonic.

        `margin` is how many times their expected seconds the running batches may take.
        """
        return max(time.monotonic(), self._since + margin * sum(self._running.values()))

    async def start(self, batch: Batch[W, A], tasks: asyncio.TaskGroup) -> None:
        """Start a batch, or run it where it is short. It ends in a task, which raises where the device failed."""
        history, number = batch[0][0].history, next(self._numbers)
        expected = history.latency.seconds(cost_of(batch))
        is_short = history.latency.has_measured and expected < self._short_seconds and not self._running
        let_next = partial(asyncio.get_running_loop().call_soon_threadsafe, self._let_next, number)
        run = self._device_threads.run_here if is_short else self._device_threads.submit_batch
        running = run(self._timed, batch, let_next)
        if running.done():
            await self._finish(batch, running)
            return
        if not self._running:
            self._since = time.monotonic()
        self._running[number] = expected
        self._newest_lets = False
        self.wants_next.clear()
        # By number: a reference to the task would keep its batch, and so the models, in memory.
        tasks.create_task(self._finish(batch, running)).add_done_callback(lambda _: self._end(number))

    def _let_next(self, number: int) -> None:
        """Let another batch begin beside this one, unless it has ended or is not the newest."""
        self._newest_lets |= number == next(reversed(self._running), None)
        self._update()

    def _end(self, number: int) -> None:
        self._let_next(number)
        del self._running[number]
        self._since = time.monotonic()
        self._update()

    def _update(self) -> None:
        if self._newest_lets and len(self._running) < self._device_threads.num_batches:
            self.wants_next.set()

    def _timed(self, batch: Batch[W, A], let_next: Callable[[], object] | None) -> _Timed[A]:
        started = self._clock()
        answers = self._run_batch([part for _, part in batch], let_next)
        return answers, started, self._clock()

    async def _finish(self, batch: Batch[W, A], running: Future[_Timed[A]] | asyncio.Future[_Timed[A]]) -> None:
        """Answer a batch once it has run; raise DeviceFailed where the device can run nothing any more."""
        if not running.done():
            running = asyncio.wrap_future(running)
            await asyncio.wait([running])  # unlike `await running`, this does not raise what the batch raised
        error = running.exception()
        if isinstance(error, OutOfDeviceMemory) and sum(part.num_rows for _, part in batch) > 1:
            await self._run_halves(batch)
        elif error is not None:
            self._fail(batch, error)
        else:
            answers, started, ended = running.result()
            self._learn(batch, started, ended)
            self._answer(batch, answers)

    def _learn(self, batch: Batch[W, A], started: float, ended: float) -> None:
        """Learn from the device time of a batch; where two overlap, the overlap counts for the one that ends first."""
        seconds = max(0.0, ended - max(started, self._measured_until))
        self._measured_until = max(ended, self._measured_until)
        entry, _ = batch[0]
        entry.history.learn(cost_of(batch), entry.row_cost, seconds)
        self.last_history = entry.history

    def _fail(self, batch: Batch[W, A], error: BaseException) -> None:
        self.counters.num_failed_batches += 1
        for entry, _ in batch:
            entry.fail(error)
        if isinstance(error, DeviceFailed):
            raise error

    async def _run_halves(self, batch: Batch[W, A]) -> None:
        """Run a batch that the device's memory did not hold in two parts, one after the other."""
        first, second = halves(batch)
        history = batch[0][0].history
        history.max_cost = cost_of(first)
        self.counters.num_splits += 1
        _log.warning("batch_split", cost=cost_of(batch), max_cost=history.max_cost)
        for half in (first, second):
            await self._finish(half, self._device_threads.submit_batch(self._timed, half, None))

    def _answer(self, batch: Batch[W, A], answers: Sequence[A]) -> None:
        now = time.monotonic()
        self.counters.num_batches += 1
        for (entry, part), answer in zip(batch, answers, strict=True):
            self.counters.num_rows += part.num_rows
            if entry.deadline is not None and entry.deadline < now:
                self.counters.num_late += part.num_rows
            entry.add(part, answer)
