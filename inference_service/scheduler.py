"""The queue in front of the device: bounded in rows, emptied in batches as soon as the device is free.

It knows deadlines and cancellations, and neither models nor tensors. Everything but `run_batch` happens on the event
loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from inference_service.errors import DeadlineExceeded, QueueFull

_log = structlog.get_logger()

W = TypeVar("W")
A = TypeVar("A")


@dataclass(frozen=True)
class Part(Generic[W]):
    """Rows `start` to `stop` of one request's work: what of it fits into one batch."""

    work: W
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        """Rows of this part."""
        return self.stop - self.start


@dataclass
class Counters:
    """What the scheduler did since it started."""

    num_batches: int = 0
    num_rows: int = 0
    num_expired: int = 0
    num_cancelled: int = 0
    num_refused: int = 0
    num_failed_batches: int = 0


class Place(Generic[W, A]):
    """One request's place: first it only holds room for its rows, then it waits in the queue with its work."""

    def __init__(self, num_rows: int, deadline: float | None) -> None:
        self.num_rows = num_rows
        self.deadline = deadline
        self.answer: asyncio.Future[list[A]] = asyncio.get_running_loop().create_future()
        self.num_left = num_rows
        self._answers: list[A] = []
        self._num_answered = 0

    def take(self, work: W, max_rows: int) -> Part[W]:
        """Take the next rows for a batch."""
        start = self.num_rows - self.num_left
        part = Part(work, start, min(start + max_rows, self.num_rows))
        self.num_left -= part.num_rows
        return part

    def add(self, part: Part[W], answer: A) -> None:
        """Take a part's answer; parts are run, and so answered, in order."""
        self._answers.append(answer)
        self._num_answered += part.num_rows
        if self._num_answered == self.num_rows and not self.answer.done():
            self.answer.set_result(self._answers)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless the caller has left."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Scheduler(Generic[W, A]):
    """Runs the rows of many requests in batches, first come, first served.

    Whenever the device is free it takes what waits, up to `max_batch_rows`, and never waits for more. `run_batch` is
    called in `device_thread`, one call at a time, and returns one answer for each part; where it raises, the requests
    of that batch fail and the next batch is run.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Part[W]]], Sequence[A]],
        device_thread: Executor,
        *,
        max_batch_rows: int,
        max_queue_rows: int,
    ) -> None:
        self._run_batch = run_batch
        self._device_thread = device_thread
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._queue: deque[tuple[Place[W, A], W]] = deque()
        self._arrived = asyncio.Event()
        self.num_waiting_rows = 0
        self.counters = Counters()

    @contextmanager
    def admit(self, num_rows: int, deadline: float | None = None) -> Iterator[Place[W, A]]:
        """Hold room for a request from before its rows are prepared; raise QueueFull at once where there is none.

        `deadline` is a time of the event loop's clock. On leaving, room that the device never used is given back.
        """
        if self.num_waiting_rows + num_rows > self._max_queue_rows:
            self.counters.num_refused += 1
            raise QueueFull(
                f"{self.num_waiting_rows} rows wait already, and with these {num_rows} they would be more than "
                f"{self._max_queue_rows}: try again later, or send fewer at once"
            )
        place = Place[W, A](num_rows, deadline)
        self.num_waiting_rows += num_rows
        try:
            yield place
        finally:
            self._give_back(place)

    async def answer(self, place: Place[W, A], work: W) -> list[A]:
        """Queue the work and return its parts' answers, in order.

        Raises DeadlineExceeded where the deadline passes first. When the caller is cancelled, what has not reached the
        device never does.
        """
        self._queue.append((place, work))
        self._arrived.set()
        return await place.answer

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        while True:
            await self._arrived.wait()
            if batch := self._form_batch():
                await self._run(batch)
            if not self._queue:
                self._arrived.clear()

    def _form_batch(self) -> list[tuple[Place[W, A], Part[W]]]:
        """Take rows, oldest first, up to the limit; drop whoever has no use for an answer any more."""
        batch: list[tuple[Place[W, A], Part[W]]] = []
        num_free = self._max_batch_rows
        while self._queue and num_free:
            place, work = self._queue[0]
            if not self._is_dropped(place):
                part = place.take(work, num_free)
                self.num_waiting_rows -= part.num_rows
                num_free -= part.num_rows
                batch.append((place, part))
            if not place.num_left:
                self._queue.popleft()
        return batch

    def _is_dropped(self, place: Place[W, A]) -> bool:
        if place.answer.cancelled():
            self.counters.num_cancelled += 1
        elif place.deadline is not None and place.deadline <= asyncio.get_running_loop().time():
            self.counters.num_expired += 1
            place.fail(DeadlineExceeded("the deadline passed before the device was free"))
        if place.answer.done():  # or an earlier part failed
            _log.debug("request_dropped", cancelled=place.answer.cancelled(), num_rows=place.num_left)
            self._give_back(place)
            return True
        return False

    def _give_back(self, place: Place[W, A]) -> None:
        self.num_waiting_rows -= place.num_left
        place.num_left = 0

    async def _run(self, batch: Sequence[tuple[Place[W, A], Part[W]]]) -> None:
        parts = [part for _, part in batch]
        running = asyncio.get_running_loop().run_in_executor(self._device_thread, self._run_batch, parts)
        await asyncio.wait([running])  # unlike `await running`, this does not raise what the batch raised
        self.counters.num_batches += 1
        self.counters.num_rows += sum(part.num_rows for part in parts)
        if (error := running.exception()) is not None:
            self.counters.num_failed_batches += 1
            for place, _ in batch:
                place.fail(error)
            return
        for (place, part), answer in zip(batch, running.result(), strict=True):
            place.add(part, answer)
