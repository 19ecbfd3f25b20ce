"""The scheduler: admits requests to bounded queues and runs batches of their rows as soon as the device is free.

It knows deadlines, priorities, cancellations and cost, and neither models nor tensors. Everything but running a batch
happens on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import structlog

from inference_service.batching.admission_control import AdmissionControl
from inference_service.batching.batch_runner import BatchRunner, Counters, RunBatch
from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.latency_model import MARGIN, StageHistory
from inference_service.batching.queue_capacity import CostLimits, QueueCapacity
from inference_service.batching.queue_entry import DEFAULT_PRIORITY, QueueEntry
from inference_service.batching.queues import Queues
from inference_service.errors import DeadlineExceeded, DeviceFailed, QueueFull, Stopping

_log = structlog.get_logger()

W = TypeVar("W")
A = TypeVar("A")
# After this many rounds of the event loop without a new row, a few microseconds each, no request is being read any
# more. With 10 a small model answered a tenth fewer requests; a request alone was answered no earlier.
_QUIET_ROUNDS = 40


@dataclass(frozen=True)
class Snapshot:
    """What the scheduler has at one moment: cost that waits or is being prepared, rows in queues, running batches."""

    waiting_cost: int
    num_queued_rows: int
    num_running_batches: int


class Scheduler(Generic[W, A]):
    """Runs the rows of many requests in batches.

    When the device is free it takes what waits, up to the limit of a batch, and never waits for requests that have not
    reached the process yet. `limits` bound the cost of rows by their kind. See Queues for which rows make a batch, and
    BatchRunner for how it runs.
    """

    def __init__(
        self,
        run_batch: RunBatch[W, A],
        device_threads: DeviceThreads,
        limits: Mapping[str, CostLimits],
        *,
        short_seconds: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._capacities = {kind: QueueCapacity(each) for kind, each in limits.items()}
        # Weak: what was learnt of a stage goes with the stage.
        self._histories: WeakKeyDictionary[object, StageHistory] = WeakKeyDictionary()
        self._queues = Queues[W, A]()
        self._arrived = asyncio.Event()
        self._runner = BatchRunner[W, A](run_batch, device_threads, short_seconds, clock)
        self._open: set[QueueEntry[W, A]] = set()
        self._num_admitted = 0
        self._end: DeviceFailed | Stopping | None = None
        self.admission = AdmissionControl(self.wait_seconds)

    @property
    def counters(self) -> Counters:
        """Counts since the start."""
        return self._runner.counters

    def snapshot(self) -> Snapshot:
        """Return what waits and runs at this moment."""
        waiting_cost = sum(each.waiting_cost for each in self._capacities.values())
        return Snapshot(waiting_cost, self._queues.num_rows, len(self._runner))

    def capacity(self, kind: str) -> QueueCapacity:
        """Return the capacity for rows of one kind."""
        return self._capacities[kind]

    def history(self, kind: str, stage: object) -> StageHistory:
        """Return what was learnt of batches that begin with this stage, which takes rows of one kind."""
        history = self._histories.get(stage)
        if history is None:
            history = self._histories[stage] = StageHistory(self._capacities[kind])
        return history

    @contextmanager
    def admit(
        self,
        kind: str,
        stage: object,
        num_rows: int,
        model: Hashable,
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        row_cost: int = 1,
    ) -> Iterator[QueueEntry[W, A]]:
        """Hold room for a request from before its rows are prepared.

        `kind` names the limits for its rows. `stage` is the one that its work begins with. No `model` can take all of
        the room. `deadline` is a time of time.monotonic. Raises QueueFull where there is no room, InvalidInput where
        there never is, and DeadlineExceeded where the request cannot be answered in time. On leaving, room that the
        device never used is given back. Where the scheduler ends meanwhile, the entry is answered with an error,
        whatever the request waits for.
        """
        if self._end is not None:
            raise _copy(self._end)
        self.admission.note((model, priority))
        entry = QueueEntry[W, A](self.history(kind, stage), num_rows, model, deadline, priority, row_cost)
        self._check_room(entry, entry.cost_left)
        self._check_deadline(entry)
        entry.history.capacity.add(entry.cost_left, model)
        self._num_admitted += 1
        self._open.add(entry)
        try:
            yield entry
        finally:
            self._open.remove(entry)
            _give_back(entry)

    def wait_seconds(self) -> float:
        """Return the seconds until a row that comes now is answered, by the last batch; 0 where none waits."""
        history = self._runner.last_history
        if history is None or not history.capacity.waiting_cost:
            return 0.0
        waiting_cost = history.capacity.waiting_cost
        return self._runner.free_at(MARGIN) - time.monotonic() + history.latency.longest_seconds(waiting_cost)

    async def answer(
        self, entry: QueueEntry[W, A], work: W, form: Hashable = None, row_cost: int | None = None
    ) -> list[A]:
        """Queue the work and return its parts' answers, in order.

        Rows of equal `form` can run in one batch. `row_cost` is what each row costs, where that was not known before.
        Raises DeadlineExceeded where the deadline passes first, or cannot be met any more, QueueFull or InvalidInput
        where there is no room for the cost, and the error that the scheduler ended with. When the caller is cancelled,
        rows that have not reached the device never do.
        """
        if entry.answer.done():
            return await entry.answer
        if row_cost is not None and row_cost != entry.row_cost:
            self._set_cost(entry, row_cost)
        self._queues.append(entry, work, form)
        self._arrived.set()
        if entry.deadline is None:
            return await entry.answer
        timer = asyncio.get_running_loop().call_later(entry.deadline - time.monotonic(), self._expire, entry)
        try:
            return await entry.answer
        finally:
            timer.cancel()

    async def run(self) -> None:
        """Serve the queues until cancelled.

        Raises DeviceFailed where the device can run nothing any more. However it ends, every request without an answer
        gets an error, whether it waits, is being prepared or runs, and so does every later one.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._serve(tasks)
        except ExceptionGroup as group:
            error = group.exceptions[0]
            self._end = error if isinstance(error, DeviceFailed) else None
            raise error from None
        finally:
            self._end = self._end or Stopping("the service is stopping: try again in a moment, or at another one")
            for entry in self._open:
                if not entry.answer.done():
                    entry.fail(_copy(self._end))
                    entry.answer.exception()  # seen: a request that ends for another reason does not look

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._arrived.wait()
            await self._runner.wants_next.wait()
            await self._take_in()
            await self._run_next(tasks)
            if not self._queues:
                self._arrived.clear()

    async def _run_next(self, tasks: asyncio.TaskGroup) -> None:
        """Start the next batch; nothing of it, and so no model, stays in memory while the queues are empty."""
        batch = self._queues.form_batch(self._runner.free_at(MARGIN), self._drop)
        for entry, part in batch:
            entry.history.capacity.add(-part.num_rows * entry.row_cost, entry.model)
        if batch:
            await self._runner.start(batch, tasks)

    async def _take_in(self) -> None:
        """Let the event loop read the requests that have reached this process already, so that they join the batch.

        Else each of several that come close together would be a batch of its own, and the next ones would wait for it.
        """
        num_rounds, num_admitted = 0, -1
        while num_rounds < _QUIET_ROUNDS:
            if num_admitted != self._num_admitted:
                num_rounds, num_admitted = 0, self._num_admitted
                if any(each.waiting_cost >= each.max_batch_cost for each in self._capacities.values()):
                    return
            await asyncio.sleep(0)
            num_rounds += 1

    def _check_room(self, entry: QueueEntry[W, A], cost: int, held: int = 0) -> None:
        try:
            entry.history.capacity.check(cost, entry.model, held)
        except QueueFull:
            self.counters.num_refused += 1
            raise

    def _check_deadline(self, entry: QueueEntry[W, A]) -> None:
        """Raise DeadlineExceeded for a request that is expected to be late, before its rows are prepared."""
        if entry.deadline is None:
            return
        latency = entry.history.latency
        ahead = entry.history.capacity.cost_of(entry.model) if self._queues.goes_behind(entry) else 0
        if self._runner.free_at() + latency.seconds(ahead + entry.cost_left) > entry.deadline:
            if not self._queues and latency.seconds(entry.cost_left) > entry.deadline - time.monotonic():
                latency.doubt()
            self.counters.num_expired += 1
            raise _late()

    def _set_cost(self, entry: QueueEntry[W, A], row_cost: int) -> None:
        """Hold the room for rows whose cost was not known before they were prepared."""
        more = entry.num_left * (row_cost - entry.row_cost)
        if more > 0:
            self._check_room(entry, more, held=entry.cost_left)
        entry.history.capacity.add(more, entry.model)
        entry.row_cost = row_cost

    def _drop(self, entry: QueueEntry[W, A]) -> None:
        """Drop a request that its caller has left, or that cannot meet its deadline any more."""
        if entry.answer.cancelled():
            self.counters.num_cancelled += 1
        else:
            self._expire(entry)
        _log.debug("request_dropped", cancelled=entry.answer.cancelled(), num_rows=entry.num_left)
        _give_back(entry)

    def _expire(self, entry: QueueEntry[W, A]) -> None:
        if not entry.answer.done():
            self.counters.num_expired += 1
            entry.fail(_late())


def _give_back(entry: QueueEntry[W, A]) -> None:
    """Give back the room that the device never used."""
    entry.history.capacity.add(-entry.cost_left, entry.model)
    entry.num_left = 0


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline is nearer than the device can answer: send fewer, or wait longer")


def _copy(error: DeviceFailed | Stopping) -> DeviceFailed | Stopping:
    """Return an error of its own for one caller: raising one again and again makes its traceback longer each time."""
    return type(error)(str(error))
