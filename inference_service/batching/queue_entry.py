"""A queue entry: one request's room in the queue, then its rows in it, then its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from inference_service.batching.latency_model import StageHistory

W = TypeVar("W")
A = TypeVar("A")
T = TypeVar("T")

DEFAULT_PRIORITY = 100


@dataclass(frozen=True)
class Part(Generic[W]):
    """Rows `start` to `stop` of one request's work: the rows of it that are in one batch."""

    work: W
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        """Rows of this part."""
        return self.stop - self.start


class QueueEntry(Generic[W, A]):
    """The entry of one request: it holds room for the rows while they are prepared, then waits with them in a queue.

    `history` is that of the stage that the work begins with. `model` is what the device's time is shared by. The lowest
    `priority` goes first. `deadline` is a time of time.monotonic.
    """

    def __init__(
        self,
        history: StageHistory,
        num_rows: int,
        model: Hashable,
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        row_cost: int = 1,
    ) -> None:
        self.history = history
        self.num_rows = self.num_left = num_rows
        self.model = model
        self.deadline = deadline
        self.priority = priority
        self.row_cost = row_cost
        self.answer: asyncio.Future[list[A]] = asyncio.get_running_loop().create_future()
        self._answers: dict[int, A] = {}  # by the first row of the part
        self._num_answered = 0

    @property
    def cost_left(self) -> int:
        """Cost of the rows that no batch has taken yet."""
        return self.num_left * self.row_cost

    def take(self, work: W, max_rows: int) -> Part[W]:
        """Take the next rows for a batch."""
        start = self.num_rows - self.num_left
        part = Part(work, start, min(start + max_rows, self.num_rows))
        self.num_left -= part.num_rows
        return part

    def add(self, part: Part[W], answer: A) -> None:
        """Add the answer of a part; of two batches that run at the same time, either may end first."""
        self._answers[part.start] = answer
        self._num_answered += part.num_rows
        if self._num_answered == self.num_rows and not self.answer.done():
            self.answer.set_result([self._answers[start] for start in sorted(self._answers)])

    async def prepare(self, preparing: Coroutine[None, None, T]) -> T:
        """Return the prepared rows; cancel the preparation and raise where the entry is failed meanwhile."""
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


Batch = list[tuple[QueueEntry[W, A], Part[W]]]


def cost_of(batch: Batch[W, A]) -> int:
    """Return the cost of all rows in a batch."""
    return sum(part.num_rows * entry.row_cost for entry, part in batch)


def halves(batch: Batch[W, A]) -> tuple[Batch[W, A], Batch[W, A]]:
    """Split a batch in the middle of its rows."""
    num_rows = sum(part.num_rows for _, part in batch) // 2
    first: Batch[W, A] = []
    second: Batch[W, A] = []
    for entry, part in batch:
        middle = min(part.stop, part.start + num_rows)
        num_rows -= middle - part.start
        if middle > part.start:
            first.append((entry, Part(part.work, part.start, middle)))
        if part.stop > middle:
            second.append((entry, Part(part.work, middle, part.stop)))
    return first, second
