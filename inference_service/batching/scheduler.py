"""The queue in front of the device: bounded in rows, emptied in batches as soon as the device is free.

It knows deadlines, priorities and cancellations, and neither models nor tensors. Everything but `run_batch` happens on
the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import structlog

from inference_service.batching.admission_control import AdmissionControl
from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.in_flight import InFlight, Signal
from inference_service.batching.queues import LONG_SECONDS, Batch, Lane, Part, Place, count_rows, halves
from inference_service.errors import DeadlineExceeded, DeviceFailed, OutOfDeviceMemory, QueueFull, Stopping

_log = structlog.get_logger()

W = TypeVar("W")
A = TypeVar("A")
_Timed = tuple[Sequence[A], float, float]
_RunBatch = Callable[[Sequence[Part[W]], Callable[[], object] | None], Sequence[A]]
_FLOOD = 4  # one model may fill this many times the room that is left: four fifths of an empty queue
DEFAULT_PRIORITY = 100
# So many rounds of the event loop without a new row, a few microseconds each, say that nothing more is under way. With
# 10 a small model answered a tenth fewer requests; alone, none was answered earlier.
_QUIET_ROUNDS = 40
# Fewer rows wait for the end of the batch that runs, and for others that come meanwhile: a row alone costs more.
_ROWS_BESIDE = 4


@dataclass
class Counters:
    """What the scheduler did since it started; `num_late` rows ran and were answered after their deadline."""

    num_batches: int = 0
    num_rows: int = 0
    num_expired: int = 0
    num_cancelled: int = 0
    num_refused: int = 0
    num_late: int = 0
    num_splits: int = 0
    num_failed_batches: int = 0


class Scheduler(Generic[W, A]):
    """Runs the rows of many requests in batches.

    Whenever the device is free it takes what waits, up to `max_batch_rows`, and waits for nothing that has not reached
    the process yet. Rows run together that are in one lane: `lane_of` names the stage that their work begins with. The
    lowest priority goes first; lanes take turns by the device time they had, and the models in a lane share its batches
    evenly. `run_batch` is called in `device_threads` and returns one answer for each part; where it raises, the
    requests of that batch fail and the next batch is run. A long batch may say that the next one may begin beside it. A
    batch that the device's memory does not hold is run in halves. One that by `clock` is expected to take less than
    `short_seconds` runs on the event loop where the device is free: the way to its thread and back takes longer.
    """

    def __init__(
        self,
        run_batch: _RunBatch[W, A],
        device_threads: DeviceThreads,
        *,
        lane_of: Callable[[W], object],
        max_batch_rows: int,
        max_queue_rows: int,
        short_seconds: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run_batch = run_batch
        self._device_threads = device_threads
        self._lane_of = lane_of
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._short_seconds = short_seconds
        self._clock = clock
        # Weak: what was learnt of a stage goes with the stage, and a lane never keeps one in memory.
        self._lanes: WeakKeyDictionary[object, Lane[W, A]] = WeakKeyDictionary()
        self._waiting: list[Lane[W, A]] = []
        self._rows_of_flow: Counter[Hashable] = Counter()
        self._arrived = asyncio.Event()
        self._in_flight = InFlight(self._arrived.set, lambda: self.num_waiting_rows >= _ROWS_BESIDE)
        self._open: set[Place[W, A]] = set()
        self._end: DeviceFailed | Stopping | None = None
        self._last_lane: Lane[W, A] | None = None
        self.num_waiting_rows = 0
        self.admission = AdmissionControl(self.wait_seconds)
        self.counters = Counters()

    @contextmanager
    def admit(
        self, num_rows: int, flow: Hashable, deadline: float | None = None, priority: int = DEFAULT_PRIORITY
    ) -> Iterator[Place[W, A]]:
        """Hold room for a request from before its rows are prepared; raise QueueFull at once where there is none.

        `flow` is the model it is for: no model's flood takes all of the room. `deadline` is a time of time.monotonic.
        On leaving, room that the device never used is given back. Where the scheduler ends meanwhile, the place's
        answer is an error, whatever the request waits for.
        """
        if self._end is not None:
            raise _copy(self._end)
        self.admission.note((flow, priority))
        free = self._max_queue_rows - self.num_waiting_rows
        if num_rows > free or self._rows_of_flow[flow] + num_rows > _FLOOD * free:
            self.counters.num_refused += 1
            raise QueueFull(
                f"{self.num_waiting_rows} of {self._max_queue_rows} rows wait already, {self._rows_of_flow[flow]} of "
                f"them for this model: there is no room for {num_rows} more; try again later, or send fewer at once"
            )
        place = Place[W, A](num_rows, flow, deadline, priority)
        self._note_waiting(place, num_rows)
        self._open.add(place)
        try:
            yield place
        finally:
            self._open.discard(place)
            self._give_back(place)

    def wait_seconds(self, seconds_left: float = 0.0) -> float:
        """Return in about how long a row that comes now is answered, by what the last batch was of; 0 if none waits.

        It will be in a batch with some that come later: as many as are efficient, and its own deadline has time for.
        """
        if not self.num_waiting_rows or self._last_lane is None:
            return 0.0
        times = self._last_lane.latency
        num_later = min(times.efficient_rows, self._max_batch_rows, times.rows_within(seconds_left) // 4)
        free_in = self._in_flight.free_at(times.allowance) - time.monotonic()
        return free_in + times.seconds(self.num_waiting_rows + num_later)

    async def answer(self, place: Place[W, A], work: W) -> list[A]:
        """Queue the work and return its parts' answers, in order.

        Raises DeadlineExceeded where the deadline passes first, or cannot be made any more, and what the scheduler
        ended with. When the caller is cancelled, what has not reached the device never does.
        """
        if place.answer.done():
            return await place.answer
        lane = self._lane(work)
        if not lane:
            # A lane that had nothing to run has no claim to the time it did not use.
            lane.used_seconds = max(lane.used_seconds, min((each.used_seconds for each in self._waiting), default=0.0))
            self._waiting.append(lane)
        lane.append(place, work)
        self._arrived.set()
        self._in_flight.update()
        if place.deadline is None:
            return await place.answer
        timer = asyncio.get_running_loop().call_later(place.deadline - time.monotonic(), self._expire, place)
        try:
            return await place.answer
        finally:
            timer.cancel()

    async def run(self) -> None:
        """Serve the queues until cancelled.

        Raises DeviceFailed where the device can run nothing any more. However it ends, every request that is not
        answered is told so, whether it waits, is prepared or runs, and so is whoever comes later.
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
            for place in self._open:
                if not place.answer.done():
                    place.fail(_copy(self._end))
                    place.answer.exception()  # seen: a request that ends for another reason does not look

    async def _take_in(self) -> None:
        """Let the event loop read what has reached this process already, so that it can join the batch.

        Of requests that come close together each would else be a batch of its own, and the next ones wait for it.
        """
        num_rounds, num_rows = 0, self.num_waiting_rows
        while num_rounds < _QUIET_ROUNDS and num_rows < self._max_batch_rows:
            await asyncio.sleep(0)
            num_rounds = num_rounds + 1 if num_rows == self.num_waiting_rows else 0
            num_rows = self.num_waiting_rows

    async def _run_next(self) -> None:
        lane = min(self._waiting, key=lambda each: (each.first_priority, each.used_seconds))
        max_rows = min(self._max_batch_rows, lane.max_rows)
        lane.latency.note_late(self._in_flight.late_share)
        batch = lane.form_batch(max_rows, self._in_flight.free_at(lane.latency.allowance), self._drop)
        if not lane:
            self._waiting.remove(lane)
        if not batch:
            return
        for place, part in batch:
            self._note_waiting(place, -part.num_rows)
        expected = lane.latency.expected_seconds(count_rows(batch))
        if lane.latency.has_measured and expected < self._short_seconds and not len(self._in_flight):
            running = self._device_threads.run_here(self._timed, batch, None)
            if running.done():
                await self._finish(lane, batch, running)
            else:
                self._in_flight.begin(lambda _: self._finish(lane, batch, running), expected)
        else:
            may_overlap = expected >= LONG_SECONDS
            self._in_flight.begin(lambda signal: self._run(lane, batch, signal if may_overlap else None), expected)

    async def _run(self, lane: Lane[W, A], batch: Batch[W, A], wants_next: Signal | None = None) -> None:
        await self._finish(lane, batch, self._device_threads.submit_batch(self._timed, batch, wants_next))

    async def _finish(
        self, lane: Lane[W, A], batch: Batch[W, A], running: Future[_Timed[A]] | asyncio.Future[_Timed[A]]
    ) -> None:
        """Answer a batch once it has run; raise DeviceFailed where the device can run nothing any more."""
        num_rows = count_rows(batch)
        if not running.done():
            running = asyncio.wrap_future(running)
            await asyncio.wait([running])  # unlike `await running`, this does not raise what the batch raised
        error = running.exception()
        if isinstance(error, OutOfDeviceMemory) and num_rows > 1:
            await self._run_halves(lane, batch, num_rows)
        elif error is not None:
            self.counters.num_failed_batches += 1
            for place, _ in batch:
                place.fail(error)
            if isinstance(error, DeviceFailed):
                raise error
        else:
            answers, started, ended = running.result()
            self._learn(lane, num_rows, self._in_flight.device_seconds(started, ended))
            self._answer(batch, answers)

    def _timed(self, batch: Batch[W, A], wants_next: Signal | None) -> _Timed[A]:
        started = self._clock()
        answers = self._run_batch([part for _, part in batch], wants_next)
        return answers, started, self._clock()

    def _learn(self, lane: Lane[W, A], num_rows: int, seconds: float) -> None:
        lane.used_seconds += seconds
        lane.latency.add(num_rows, seconds)
        self._last_lane = lane
        if num_rows == lane.max_rows:
            lane.max_rows = min(self._max_batch_rows, num_rows + 1)

    async def _run_halves(self, lane: Lane[W, A], batch: Batch[W, A], num_rows: int) -> None:
        """Run what the device's memory did not hold in two parts, one after the other, and remember its size."""
        lane.max_rows = max(1, num_rows // 2)
        self.counters.num_splits += 1
        _log.warning("batch_split", num_rows=num_rows, max_rows=lane.max_rows)
        for half in halves(batch, lane.max_rows):
            await self._run(lane, half)

    def _answer(self, batch: Batch[W, A], answers: Sequence[A]) -> None:
        now = time.monotonic()
        self.counters.num_batches += 1
        for (place, part), answer in zip(batch, answers, strict=True):
            self.counters.num_rows += part.num_rows
            if place.deadline is not None and place.deadline < now:
                self.counters.num_late += part.num_rows
            place.add(part.num_rows, answer)

    def _drop(self, place: Place[W, A]) -> None:
        """Give up a request that its caller has left, or that cannot make its deadline any more."""
        if place.answer.cancelled():
            self.counters.num_cancelled += 1
        else:
            self._expire(place)
        _log.debug("request_dropped", cancelled=place.answer.cancelled(), num_rows=place.num_left)
        self._give_back(place)

    def _expire(self, place: Place[W, A]) -> None:
        if not place.answer.done():
            self.counters.num_expired += 1
            place.fail(
                DeadlineExceeded("the deadline is nearer than the device can answer: send fewer, or wait longer")
            )

    def _lane(self, work: W) -> Lane[W, A]:
        key = self._lane_of(work)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self._max_batch_rows)
        return lane

    def _give_back(self, place: Place[W, A]) -> None:
        self._note_waiting(place, -place.num_left)
        place.num_left = 0

    def _note_waiting(self, place: Place[W, A], num_rows: int) -> None:
        self.num_waiting_rows += num_rows
        self._rows_of_flow[place.flow] += num_rows
        if not self._rows_of_flow[place.flow]:
            del self._rows_of_flow[place.flow]


def _copy(error: DeviceFailed | Stopping) -> DeviceFailed | Stopping:
    """Return an error of its own for one caller: raising one again and again makes its traceback longer each time."""
    return type(error)(str(error))
