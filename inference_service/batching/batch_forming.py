"""Forms one batch from the rows of one form that wait: within its cost limit, its deadlines, and in equal shares."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, TypeVar

from inference_service.batching.latency_model import UNLIMITED, LatencyModel
from inference_service.batching.queue_entry import Batch, Part, QueueEntry

W = TypeVar("W")
A = TypeVar("A")
# A batch that takes this long makes the way of answers to their callers, and of the next requests back, look short.
LONG_SECONDS = 0.02


@dataclass(eq=False)
class FlowQueue(Generic[W, A]):
    """The entries of one flow with one priority, whose rows have one form and one cost; oldest first."""

    priority: int
    flow: Hashable
    form: Hashable
    row_cost: int
    entries: deque[tuple[QueueEntry[W, A], W]] = field(default_factory=deque)

    @property
    def num_rows(self) -> int:
        """Rows that wait."""
        return sum(entry.num_left for entry, _ in self.entries)


class BatchForming(Generic[W, A]):
    """Takes rows of one form for a batch that begins at `now`.

    All rows have one cost, so limits are counted in rows here. An entry that has its answer already, or cannot meet its
    deadline any more, is given to `drop` instead; `num_hopeless` counts the latter.
    """

    def __init__(
        self,
        queues: Sequence[FlowQueue[W, A]],
        max_cost: int,
        now: float,
        latency: LatencyModel,
        drop: Callable[[QueueEntry[W, A]], object],
    ) -> None:
        self._queues = queues
        self._row_cost = queues[0].row_cost
        self._now = now
        self._latency = latency
        self._drop = drop
        self._efficient_rows = max(1, round(latency.efficient_cost / self._row_cost))
        num_waiting = sum(queue.num_rows for queue in queues)
        max_rows = max(1, max_cost // self._row_cost)
        self._num_free = min(max_rows, self._worth_taking(num_waiting))
        self._least_rows = self._least_rows_of(num_waiting)
        self._num_taken = 0
        self._batch: Batch[W, A] = []
        self.num_hopeless = 0

    def form(self) -> Batch[W, A]:
        """Return the batch: the lowest priority first, then equal shares; no larger than its deadlines allow."""
        for _, same_priority in groupby(self._queues, key=lambda queue: queue.priority):
            self._share(list(same_priority))
        return self._batch

    def _share(self, queues: list[FlowQueue[W, A]]) -> None:
        """Fill the batch from queues of one priority, an equal share from each, until they are empty or it is full."""
        while queues and self._num_free > 0:
            unsatisfied = []
            for position, queue in enumerate(queues):
                share = max(1, self._num_free // (len(queues) - position))
                if self._take(queue, share):
                    unsatisfied.append(queue)
            queues = unsatisfied

    def _take(self, queue: FlowQueue[W, A], share: int) -> bool:
        """Take up to `share` rows from the front of a queue; return whether more could be taken from it."""
        entries = queue.entries
        while entries and min(share, self._num_free) > 0:
            entry, work = entries[0]
            in_time = self._rows_in_time(entry)
            is_hopeless = in_time < max(min(entry.num_left, self._num_taken + self._num_free), self._least_rows)
            if entry.answer.done() or is_hopeless:
                self.num_hopeless += not entry.answer.done()
                self._drop(entry)
                entries.popleft()
                continue
            if in_time < self._num_taken + 1:
                return False  # it can be in time in a batch of its own, but not in this one
            self._num_free = min(self._num_free, in_time - self._num_taken)
            part = entry.take(work, min(share, self._num_free))
            self._add(entry, part)
            share -= part.num_rows
            if not entry.num_left:
                entries.popleft()
        return bool(entries)

    def _add(self, entry: QueueEntry[W, A], part: Part[W]) -> None:
        self._batch.append((entry, part))
        self._num_taken += part.num_rows
        self._num_free -= part.num_rows

    def _worth_taking(self, num_waiting: int) -> int:
        """Return the rows to take at once: half of those that wait where they take long, else no limit.

        While the answers of one half travel and their callers ask again, the device runs the other half. A batch of all
        that waits would leave it idle until then.
        """
        if self._latency.seconds(num_waiting * self._row_cost) < LONG_SECONDS:
            return UNLIMITED
        return max(self._efficient_rows, (num_waiting + 1) // 2)

    def _least_rows_of(self, num_waiting: int) -> int:
        """Return the minimum batch size that a request's deadline must allow.

        Where more waits than one efficient batch, a request that forces the device into a smaller one costs others
        their deadlines, so it is dropped. Where no deadline allows an efficient batch, half of what the latest deadline
        allows is enough.
        """
        entries = (entry for queue in self._queues for entry, _ in queue.entries)
        most = max(map(self._rows_in_time, entries), default=0)
        least = max(1, min(self._efficient_rows, self._num_free, most // 2))
        return least if num_waiting > least else 1

    def _rows_in_time(self, entry: QueueEntry[W, A]) -> int:
        """Return how many rows a batch may have that begins now and must be done when this entry is due."""
        return UNLIMITED if entry.due is None else self._latency.cost_within(entry.due - self._now) // self._row_cost
