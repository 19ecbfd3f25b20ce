"""The queue in front of one tree of stages: its rows can run together, and flows and forms share its batches fairly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from inference_service.batching.batch_forming import BatchForming, FlowQueue
from inference_service.batching.fair_shares import FairShares
from inference_service.batching.latency_model import LatencyModel
from inference_service.batching.queue_capacity import QueueCapacity
from inference_service.batching.queue_entry import Batch, QueueEntry

W = TypeVar("W")
A = TypeVar("A")


class Queue(Generic[W, A]):
    """The entries that wait for one tree of stages, and what was learnt of its batches.

    A batch has rows of one form. Of the entries with the lowest priority, the flow that has used the least cost goes
    first, and of its forms the one that has used the least. `capacity` is that of the rows' kind. `used_seconds` is the
    device time that the queue had, by which queues take turns; `max_cost` is the limit of a batch, lowered to what the
    device's memory was seen to hold.
    """

    def __init__(self, capacity: QueueCapacity) -> None:
        self.capacity = capacity
        self.latency = LatencyModel()
        self.used_seconds = 0.0
        self.max_cost = capacity.max_batch_cost
        self._queues: dict[tuple[int, Hashable, Hashable, int], FlowQueue[W, A]] = {}
        self._shares = FairShares()

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def first_priority(self) -> int:
        """Return the priority that goes first; call it where something waits."""
        return min(queue.priority for queue in self._queues.values())

    @property
    def entries(self) -> Iterable[QueueEntry[W, A]]:
        """Return the entries that wait, those that were dropped or cancelled meanwhile among them."""
        return (entry for queue in self._queues.values() for entry, _ in queue.entries)

    def goes_behind(self, entry: QueueEntry[W, A]) -> bool:
        """Return whether a new entry waits for all of its flow that waits here: it has one form, and no lower priority.

        Where a flow has several forms, rows of another one may go first.
        """
        of_flow = [queue for queue in self._queues.values() if queue.flow == entry.flow]
        return len(of_flow) == 1 and of_flow[0].priority <= entry.priority

    def learn(self, cost: int, row_cost: int, seconds: float) -> None:
        """Learn from a batch that ran; after one as large as `max_cost`, the next one may be a row larger."""
        self.used_seconds += seconds
        self.latency.add(cost, seconds)
        if cost + row_cost > self.max_cost:
            self.max_cost = min(self.capacity.max_batch_cost, max(cost, self.max_cost) + row_cost)

    def append(self, entry: QueueEntry[W, A], work: W, form: Hashable = None) -> None:
        """Add an entry whose rows have this form: only rows of equal forms run in one batch."""
        key = entry.priority, entry.flow, form, entry.row_cost
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = FlowQueue(*key)
            self._shares.begin(None, queue.flow)
            self._shares.begin(queue.flow, queue.form)
        queue.entries.append((entry, work))

    def form_batch(self, now: float, drop: Callable[[QueueEntry[W, A]], object]) -> Batch[W, A]:
        """Take the rows for one batch that begins at `now`, up to `max_cost`; see BatchForming.

        A row that costs more is a batch of its own. The batch is empty where all entries were dropped.
        """
        num_hopeless = 0
        while self._queues:
            alike = self._next_alike()
            forming = BatchForming(alike, self.max_cost, now, self.latency, drop)
            batch = forming.form()
            num_hopeless += forming.num_hopeless
            if batch:
                self._charge(alike[0], batch)
            self._remove_empty(alike)
            if batch:
                return batch
        if num_hopeless:
            self.latency.doubt()
        return []

    def _next_alike(self) -> list[FlowQueue[W, A]]:
        """Return the queue whose turn it is and those whose rows can run with its own, in the order of their turns."""
        if len(self._queues) == 1:
            return list(self._queues.values())
        in_turn = sorted(self._queues.values(), key=self._turn)
        first = in_turn[0]
        return [each for each in in_turn if each.form == first.form and each.row_cost == first.row_cost]

    def _turn(self, queue: FlowQueue[W, A]) -> tuple[int, float, float]:
        used = self._shares.used
        return queue.priority, used(None, queue.flow), used(queue.flow, queue.form)

    def _charge(self, first: FlowQueue[W, A], batch: Batch[W, A]) -> None:
        self._shares.serve(None, first.flow)
        self._shares.serve(first.flow, first.form)
        costs: Counter[Hashable] = Counter()
        for entry, part in batch:
            costs[entry.flow] += part.num_rows * entry.row_cost
        for flow, cost in costs.items():
            self._shares.charge(None, flow, cost)
            self._shares.charge(flow, first.form, cost)

    def _remove_empty(self, queues: Iterable[FlowQueue[W, A]]) -> None:
        for queue in queues:
            if not queue.entries:
                del self._queues[queue.priority, queue.flow, queue.form, queue.row_cost]
        if not self._queues:
            self._shares.clear()
