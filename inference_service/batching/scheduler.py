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
from inference_service.batching.in_flight import InFlight
from inference_service.batching.queue_capacity import CostLimits, QueueCapacity
from inference_service.batching.queue_entry import DEFAULT_PRIORITY, QueueEntry
from inference_service.batching.queues import Queue
from inference_service.errors import DeadlineExceeded, DeviceFailed, QueueFull, Stopping

_log = structlog.get_logger()

W = TypeVar("W")
A = TypeVar("A")
# After this many rounds of the event loop without a new row, a few microseconds each, no request is being read any
# more. With 10 a small model answered a tenth fewer requests; a request alone was answered no earlier.
_QUIET_ROUNDS = 40
# A batch of less than this share of the limit does not start beside a running one: it waits for that one's end, and for
# more rows.
_SHARE_BESIDE = 1 / 8


@dataclass(frozen=True)
class Snapshot:
    """What the scheduler has at one moment: cost that waits or is being prepared, rows in queues, running batches."""

    waiting_cost: int
    num_queued_rows: int
    num_running_batches: int


class Scheduler(Generic[W, A]):
    """Runs the rows of many requests in batches.

    When the device is free it takes what waits, up to the limit of a batch, and never waits for requests that have not
    reached the process yet. A batch has rows of one form from one queue: requests with the same `stage`, the stage that
    their work begins with. The lowest priority goes first; queues take turns by the device time that they had, and in a
    queue the models share the cost evenly. `limits` bound the cost of rows by their kind. For the rest see BatchRunner.
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
        # Weak: what was learnt of a stage goes with the stage, and a queue never keeps one in memory.
        self._queues: WeakKeyDictionary[object, Queue[W, A]] = WeakKeyDictionary()
        self._waiting: list[Queue[W, A]] = []
        self._arrived = asyncio.Event()
        self._in_flight = InFlight(self._arrived.set, lambda: self._fills(_SHARE_BESIDE))
        self._runner = BatchRunner[W, A](
            run_batch, device_threads, self._in_flight, short_seconds=short_seconds, clock=clock
        )
        self._open: dict[QueueEntry[W, A], Queue[W, A]] = {}
        self._num_admitted = 0
        self._end: DeviceFailed | Stopping | None = None
        self.admission = AdmissionControl(self.wait_seconds)

    @property
    def counters(self) -> Counters:
        """Counts since the start."""
        return self._runner.counters

    def snapshot(self) -> Snapshot:
        """Return what waits and runs at this moment."""
        num_queued = sum(entry.num_left for queue in self._waiting for entry in queue.entries)
        waiting_cost = sum(each.waiting_cost for each in self._capacities.values())
        return Snapshot(waiting_cost, num_queued, len(self._in_flight))

    def capacity(self, kind: str) -> QueueCapacity:
        """Return the capacity for rows of one kind."""
        return self._capacities[kind]

    def queue(self, kind: str, stage: object) -> Queue[W, A]:
        """Return the queue of the work that begins with this stage, which takes rows of one kind."""
        queue = self._queues.get(stage)
        if queue is None:
            queue = self._queues[stage] = Queue(self._capacities[kind])
        return queue

    @contextmanager
    def admit(
        self,
        kind: str,
        stage: object,
        num_rows: int,
        flow: Hashable,
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        row_cost: int = 1,
    ) -> Iterator[QueueEntry[W, A]]:
        """Hold room for a request from before its rows are prepared.

        `kind` names the limits for its rows. `flow` is its model: no model's flood takes all of the room. `deadline` is
        a time of time.monotonic. Raises QueueFull where there is no room, InvalidInput where there never is, and
        DeadlineExceeded where the request cannot be answered in time. On leaving, room that the device never used is
        given back. Where the scheduler ends meanwhile, the entry is answered with an error, whatever the request waits
        for.
        """
        if self._end is not None:
            raise _copy(self._end)
        self.admission.note((flow, priority))
        queue = self.queue(kind, stage)
        entry: QueueEntry[W, A] = QueueEntry(num_rows, flow, deadline, priority, row_cost)
        self._check_room(queue, entry.cost_left, flow)
        self._check_deadline(queue, entry)
        queue.capacity.add(entry.cost_left, flow)
        self._num_admitted += 1
        self._open[entry] = queue
        try:
            yield entry
        finally:
            del self._open[entry]
            _give_back(queue, entry)

    def wait_seconds(self, seconds_left: float = 0.0) -> float:
        """Return in about how many seconds a row that comes now is answered, as the last batch took; 0 if none waits.

        It will be in a batch with rows that come later: as many as are efficient, and its own deadline has time for.
        """
        queue = self._runner.last_queue
        if queue is None or not queue.capacity.waiting_cost:
            return 0.0
        latency, capacity = queue.latency, queue.capacity
        later = min(latency.efficient_cost, capacity.max_batch_cost, latency.cost_within(seconds_left) // 4)
        free_in = self._in_flight.free_at(latency.allowance) - time.monotonic()
        return free_in + latency.seconds(capacity.waiting_cost + later)

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
        queue = self._open[entry]
        if row_cost is not None and row_cost != entry.row_cost:
            self._set_cost(queue, entry, row_cost)
        if not queue:
            # A queue that had nothing to run has no claim to the time that it did not use.
            queue.used_seconds = max(queue.used_seconds, min((each.used_seconds for each in self._waiting), default=0))
            self._waiting.append(queue)
        queue.append(entry, work, form)
        self._arrived.set()
        self._in_flight.update()
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
            while True:
                await self._arrived.wait()
                await self._in_flight.wants_next.wait()
                await self._take_in()
                self._in_flight.check()
                if self._waiting:
                    await self._run_next()
                if not self._waiting:
                    self._arrived.clear()
        except DeviceFailed as error:
            self._end = error
            raise
        finally:
            self._in_flight.cancel()
            self._end = self._end or Stopping("the service is stopping: try again in a moment, or at another one")
            for entry in self._open:
                if not entry.answer.done():
                    entry.fail(_copy(self._end))
                    entry.answer.exception()  # seen: a request that ends for another reason does not look

    async def _take_in(self) -> None:
        """Let the event loop read the requests that have reached this process already, so that they join the batch.

        Else each of several that come close together would be a batch of its own, and the next ones would wait for it.
        """
        num_rounds, num_admitted, is_full = 0, self._num_admitted, self._fills(1)
        while num_rounds < _QUIET_ROUNDS and not is_full:
            await asyncio.sleep(0)
            num_rounds += 1
            if num_admitted != self._num_admitted:
                num_rounds, num_admitted, is_full = 0, self._num_admitted, self._fills(1)

    def _fills(self, share: float) -> bool:
        """Return whether rows of some kind that wait, or are being prepared, fill this share of a batch."""
        return any(each.waiting_cost >= max(1, share * each.max_batch_cost) for each in self._capacities.values())

    async def _run_next(self) -> None:
        queue = min(self._waiting, key=lambda each: (each.first_priority, each.used_seconds))
        queue.latency.note_late(self._in_flight.late_share)
        free_at = self._in_flight.free_at(queue.latency.allowance)
        batch = queue.form_batch(free_at, lambda entry: self._drop(queue, entry))
        if not queue:
            self._waiting.remove(queue)
        if not batch:
            return
        for entry, part in batch:
            queue.capacity.add(-part.num_rows * entry.row_cost, entry.flow)
        await self._runner.start(queue, batch)

    def _check_room(self, queue: Queue[W, A], cost: int, flow: Hashable, held: int = 0) -> None:
        try:
            queue.capacity.check(cost, flow, held)
        except QueueFull:
            self.counters.num_refused += 1
            raise

    def _check_deadline(self, queue: Queue[W, A], entry: QueueEntry[W, A]) -> None:
        """Raise DeadlineExceeded for a request that would be late even if every batch took what is expected of it.

        So it is refused before its rows are prepared.
        """
        if entry.due is None:
            return
        ahead = queue.capacity.cost_of(entry.flow) if queue.goes_behind(entry) else 0
        run_seconds = queue.latency.expected_seconds(ahead + entry.cost_left)
        if self._in_flight.free_at(1.0) + run_seconds > entry.due:
            if not queue and queue.latency.expected_seconds(entry.cost_left) > entry.due - time.monotonic():
                queue.latency.doubt()
            self.counters.num_expired += 1
            raise _late()

    def _set_cost(self, queue: Queue[W, A], entry: QueueEntry[W, A], row_cost: int) -> None:
        """Hold the room for rows whose cost was not known before they were prepared."""
        more = entry.num_left * (row_cost - entry.row_cost)
        if more > 0:
            self._check_room(queue, more, entry.flow, held=entry.cost_left)
        queue.capacity.add(more, entry.flow)
        entry.row_cost = row_cost

    def _drop(self, queue: Queue[W, A], entry: QueueEntry[W, A]) -> None:
        """Drop a request that its caller has left, or that cannot meet its deadline any more."""
        if entry.answer.cancelled():
            self.counters.num_cancelled += 1
        else:
            self._expire(entry)
        _log.debug("request_dropped", cancelled=entry.answer.cancelled(), num_rows=entry.num_left)
        _give_back(queue, entry)

    def _expire(self, entry: QueueEntry[W, A]) -> None:
        if not entry.answer.done():
            self.counters.num_expired += 1
            entry.fail(_late())


def _give_back(queue: Queue[W, A], entry: QueueEntry[W, A]) -> None:
    """Give back the room that the device never used."""
    queue.capacity.add(-entry.cost_left, entry.flow)
    entry.num_left = 0


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline is nearer than the device can answer: send fewer, or wait longer")


def _copy(error: DeviceFailed | Stopping) -> DeviceFailed | Stopping:
    """Return an error of its own for one caller: raising one again and again makes its traceback longer each time."""
    return type(error)(str(error))
