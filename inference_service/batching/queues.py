"""What waits for one tree of stages: a queue for each model, which share every batch evenly."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Generic, TypeVar

from inference_service.batching.latency_model import LatencyModel

W = TypeVar("W")
A = TypeVar("A")
T = TypeVar("T")


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


class Place(Generic[W, A]):
    """One request's place: first it only holds room for its rows, then it waits in a queue with its work.

    `flow` is whose request it is: flows share the device evenly. Among what waits, the lowest `priority` goes first.
    `deadline` is a time of time.monotonic, and `due` when the device has to be done for the answer to be there.
    """

    def __init__(self, num_rows: int, flow: Hashable, deadline: float | None, priority: int) -> None:
        self.num_rows = num_rows
        self.flow = flow
        self.deadline = deadline
        self.due = deadline
        if deadline is not None:
            seconds_left = max(0.0, deadline - time.monotonic())
            self.due = deadline - min(_TRAVEL_SECONDS, _TRAVEL_SHARE * seconds_left)
        self.priority = priority
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

    def add(self, num_rows: int, answer: A) -> None:
        """Take the answer of the next rows; parts are run, and so answered, in order."""
        self._answers.append(answer)
        self._num_answered += num_rows
        if self._num_answered == self.num_rows and not self.answer.done():
            self.answer.set_result(self._answers)

    async def prepare(self, preparing: Coroutine[None, None, T]) -> T:
        """Return what prepares the rows; leave it, and raise, where the request is answered with an error meanwhile."""
        task: asyncio.Future[T] = asyncio.ensure_future(preparing)
        either: list[asyncio.Future[Any]] = [task, self.answer]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self.answer.done():
                await self.answer
            return await task
        finally:
            task.cancel()

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless the caller has left."""
        if not self.answer.done():
            self.answer.set_exception(error)


# What the way to a caller takes where the cores are busy; of a short deadline a share of it.
_TRAVEL_SECONDS = 0.015
_TRAVEL_SHARE = 0.1
# Beside a batch that takes so long, the way to a caller and back is short.
LONG_SECONDS = 0.02
Batch = list[tuple[Place[W, A], Part[W]]]
_Queue = deque[tuple[Place[W, A], W]]


class Lane(Generic[W, A]):
    """The queues of the models whose rows can run together, and what was learnt of their batches.

    `used_seconds` is the device time that the lane had, by which lanes take turns; `max_rows` is what the device's
    memory was seen to hold.
    """

    def __init__(self, max_rows: int) -> None:
        self.latency = LatencyModel()
        self.used_seconds = 0.0
        self.max_rows = max_rows
        self._queues: dict[tuple[int, Hashable], _Queue[W, A]] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def first_priority(self) -> int:
        """Return the priority of what goes first; call it where something waits."""
        return min(priority for priority, _ in self._queues)

    def append(self, place: Place[W, A], work: W) -> None:
        """Let a request wait."""
        self._queues.setdefault((place.priority, place.flow), deque()).append((place, work))

    def form_batch(self, max_rows: int, now: float, drop: Callable[[Place[W, A]], object]) -> Batch[W, A]:
        """Take rows for one batch: the lowest priority first, and evenly from the models that wait.

        No batch is larger than the deadlines in it allow. A request that has its answer already, or can make its
        deadline no more, is given to `drop` instead of being run.
        """
        waiting = sum(place.num_left for queue in self._queues.values() for place, _ in queue)
        max_rows = min(max_rows, self._worth_taking(waiting))
        rows: _Rows[W, A] = _Rows(max_rows, now, self._least_rows(waiting, max_rows, now), self.latency)
        keys = sorted(self._queues, key=_priority)
        for _, same_priority in groupby(keys, key=_priority):
            self._share(list(same_priority), rows, drop)
        if rows.num_hopeless and not rows.batch:
            self.latency.doubt()
        return rows.batch

    def _share(
        self, keys: list[tuple[int, Hashable]], rows: _Rows[W, A], drop: Callable[[Place[W, A]], object]
    ) -> None:
        """Fill the batch from these queues, an equal share from each as long as each has so much."""
        while keys and rows.num_free > 0:
            unsatisfied = []
            for position, key in enumerate(keys):
                share = max(1, rows.num_free // (len(keys) - position))
                queue = self._queues.pop(key)
                if rows.take(queue, share, drop):
                    unsatisfied.append(key)
                if queue:
                    self._queues[key] = queue  # behind those that were not served yet
            keys = unsatisfied

    def _worth_taking(self, waiting: int) -> int:
        """Return how many rows to take at once: where what waits takes long, half of it.

        While the answers of one half travel and their callers ask again, the device has the other half: who takes all
        that waits has nothing to do until then.
        """
        if self.latency.seconds(waiting) < LONG_SECONDS:
            return _MANY
        return max(self.latency.efficient_rows, (waiting + 1) // 2)

    def _least_rows(self, waiting: int, max_rows: int, now: float) -> int:
        """Return for how many rows a request's deadline must leave time.

        Where more waits than fits into one efficient batch, a request that would force the device into a smaller one
        costs others their deadlines: it is given up. Where no deadline leaves time for such a batch, half of what the
        latest one leaves time for is enough.
        """
        dues = [place.due for queue in self._queues.values() for place, _ in queue]
        most = max((_rows_in_time(self.latency, due, now) for due in dues), default=0)
        least = max(1, min(self.latency.efficient_rows, max_rows, most // 2))
        return least if waiting > least else 1


@dataclass
class _Rows(Generic[W, A]):
    """A batch that is being formed; `num_free` rows may still join it, `num_hopeless` requests could not be in time."""

    num_free: int
    now: float
    least_rows: int
    latency: LatencyModel
    num_taken: int = 0
    num_hopeless: int = 0
    batch: Batch[W, A] = field(default_factory=list)

    def take(self, queue: _Queue[W, A], share: int, drop: Callable[[Place[W, A]], object]) -> bool:
        """Take up to so many rows from the front of a queue; say whether it may give more."""
        while queue and min(share, self.num_free) > 0:
            place, work = queue[0]
            in_time = _rows_in_time(self.latency, place.due, self.now)
            is_hopeless = in_time < max(min(place.num_left, self.num_taken + self.num_free), self.least_rows)
            if place.answer.done() or is_hopeless:
                self.num_hopeless += not place.answer.done()
                drop(place)
                queue.popleft()
                continue
            if in_time < self.num_taken + 1:
                return False  # in time in a batch of its own, and not in this one
            self.num_free = min(self.num_free, in_time - self.num_taken)
            part = place.take(work, min(share, self.num_free))
            self._add(place, part)
            share -= part.num_rows
            if not place.num_left:
                queue.popleft()
        return bool(queue)

    def _add(self, place: Place[W, A], part: Part[W]) -> None:
        self.batch.append((place, part))
        self.num_taken += part.num_rows
        self.num_free -= part.num_rows


def count_rows(batch: Batch[W, A]) -> int:
    """Return how many rows are in a batch."""
    return sum(part.num_rows for _, part in batch)


def halves(batch: Batch[W, A], num_rows: int) -> tuple[Batch[W, A], Batch[W, A]]:
    """Split a batch after so many rows."""
    first: Batch[W, A] = []
    second: Batch[W, A] = []
    for place, part in batch:
        middle = min(part.stop, part.start + num_rows)
        num_rows -= middle - part.start
        if middle > part.start:
            first.append((place, Part(part.work, part.start, middle)))
        if part.stop > middle:
            second.append((place, Part(part.work, middle, part.stop)))
    return first, second


def _rows_in_time(latency: LatencyModel, due: float | None, now: float) -> int:
    """Return how many rows a batch may have that begins now and has to be done then."""
    return _MANY if due is None else latency.rows_within(due - now)


_MANY = 1_000_000_000


def _priority(key: tuple[int, Hashable]) -> int:
    return key[0]
