"""Forms a batch of rows of one kind: within its limit of cost and the deadlines of its rows, in equal shares."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from inference_service.batching.latency_model import UNLIMITED, StageHistory
from inference_service.batching.queue_entry import Batch, QueueEntry

W = TypeVar("W")
A = TypeVar("A")
Queue = deque[tuple[QueueEntry[W, A], W]]
# Where all that waits takes this long, half of it is taken: while those answers travel and their callers ask again, the
# device runs the other half. Rows of other kinds count: they are work for the device too. Without this and the least
# batch below, a flood with deadlines got 0.6 of its answers.
_LONG_SECONDS = 0.02


class BatchForming(Generic[W, A]):
    """Takes of the rows of `entries`, which cost `row_cost` each, those of the batch that begins at `start`.

    Limits are counted in rows here. An entry that has its answer already, or cannot meet its deadline, is given to
    `drop`; `num_hopeless` counts the latter. A row that costs more than the limit is a batch of its own. What waits
    beside `entries` takes `seconds_of_others`.
    """

    def __init__(
        self,
        history: StageHistory,
        row_cost: int,
        entries: Sequence[QueueEntry[W, A]],
        start: float,
        drop: Callable[[QueueEntry[W, A]], object],
        seconds_of_others: float = 0.0,
    ) -> None:
        self._latency = history.latency
        self._row_cost = row_cost
        self._start = start
        self._drop = drop
        num_waiting = sum(entry.num_left for entry in entries)
        efficient_rows = max(1, round(history.latency.efficient_cost / row_cost))
        self._num_free = max(1, history.max_cost // row_cost)
        own = history.latency.seconds(num_waiting * row_cost)
        if own > 0 and own + seconds_of_others >= _LONG_SECONDS:
            half = math.ceil(num_waiting * (own + seconds_of_others) / (2 * own))
            self._num_free = min(self._num_free, max(efficient_rows, half))
        # Where more waits than an efficient batch, a request that forces the device into a smaller one costs others
        # their deadlines. Where no deadline allows one, half of what the latest deadline allows is enough.
        most = max(map(self._rows_in_time, entries), default=0)
        least = max(1, min(efficient_rows, self._num_free, most // 2))
        self._least_rows = least if num_waiting > least else 1
        self._num_taken = 0
        self.batch: Batch[W, A] = []
        self.num_hopeless = 0

    def share(self, queues: Sequence[Queue[W, A]]) -> None:
        """Take an equal share of rows from each queue, until the queues are empty or the batch is full."""
        while queues and self._num_free > 0:
            share = max(1, self._num_free // len(queues))
            queues = [queue for queue in queues if self._take(queue, share)]

    def _take(self, queue: Queue[W, A], share: int) -> bool:
        """Take up to `share` rows from the front of a queue; return whether more could be taken from it."""
        while queue and min(share, self._num_free) > 0:
            entry, work = queue[0]
            in_time = self._rows_in_time(entry)
            is_hopeless = in_time < max(self._least_rows, min(entry.num_left, self._num_taken + self._num_free))
            if entry.answer.done() or is_hopeless:
                self.num_hopeless += not entry.answer.done()
                self._drop(entry)
                queue.popleft()
                continue
            if in_time <= self._num_taken:
                return False  # it can be in time in a batch of its own, but not in this one
            self._num_free = min(self._num_free, in_time - self._num_taken)
            part = entry.take(work, min(share, self._num_free))
            self.batch.append((entry, part))
            self._num_taken += part.num_rows
            self._num_free -= part.num_rows
            share -= part.num_rows
            if not entry.num_left:
                queue.popleft()
        return bool(queue)

    def _rows_in_time(self, entry: QueueEntry[W, A]) -> int:
        """Return how many rows a batch may have that begins at `start` and must be done at this entry's deadline."""
        if entry.deadline is None:
            return UNLIMITED
        return self._latency.cost_within(entry.deadline - self._start) // self._row_cost
