"""The rows that wait for the device, in queues that take turns by the device time that their models had."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from itertools import groupby
from typing import Generic, NamedTuple, TypeVar

from inference_service.batching.batch_forming import BatchForming, Queue
from inference_service.batching.latency_model import StageHistory
from inference_service.batching.queue_entry import Batch, QueueEntry, cost_of

W = TypeVar("W")
A = TypeVar("A")


class BatchKind(NamedTuple):
    """What all rows of a batch have: the stage that they begin with, by its history; a form; and a cost for each."""

    history: StageHistory
    form: Hashable
    row_cost: int


class QueueKey(NamedTuple):
    """What all rows of a queue have."""

    priority: int
    model: Hashable
    kind: BatchKind


class Queues(Generic[W, A]):
    """All rows that wait; oldest first in each queue.

    A batch has rows of one kind. The lowest priority goes first, then the model that had the least device time, then
    its kind whose turn is next; other queues of that kind share the batch. Among models this is start-time fair
    queueing (Goyal et al., 1996): what begins to wait starts level with what was served last, and has no claim to the
    time before. The kinds of a model take turns, one batch each: by device time its cheap rows ran one by one, as the
    next one had its turn before others could join it. A kind that begins to wait goes before the one served last, and
    after all others.
    """

    def __init__(self) -> None:
        self._queues: dict[QueueKey, Queue[W, A]] = {}
        self._turns: dict[QueueKey, int] = {}  # 2n: began to wait after n batches; 2n + 1: the nth had rows of it
        self._num_batches = 0
        self._used: dict[Hashable, float] = {}  # device seconds of each model
        self._level = 0.0  # those of the model that was served last

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def num_rows(self) -> int:
        """Return the rows that wait."""
        return sum(entry.num_left for queue in self._queues.values() for entry, _ in queue)

    def append(self, entry: QueueEntry[W, A], work: W, form: Hashable) -> None:
        """Add an entry whose rows have this form."""
        key = QueueKey(entry.priority, entry.model, BatchKind(entry.history, form, entry.row_cost))
        if key not in self._queues:
            self._queues[key] = deque()
            self._turns[key] = 2 * self._num_batches
            self._used[key.model] = max(self._used.get(key.model, 0.0), self._level)
        self._queues[key].append((entry, work))

    def goes_behind(self, entry: QueueEntry[W, A]) -> bool:
        """Return whether a new entry waits for all rows of its model: they have one kind and no lower priority.

        Where they have several kinds, one may go first whatever waits of another.
        """
        of_model = [key for key in self._queues if key.model == entry.model]
        return len(of_model) == 1 and of_model[0].priority <= entry.priority

    def form_batch(self, start: float, drop: Callable[[QueueEntry[W, A]], object]) -> Batch[W, A]:
        """Take the rows of a batch that begins at `start`, by time.monotonic; see BatchForming.

        It is empty where nothing waits that can be in time.
        """
        while self._queues:
            in_turn = sorted(self._queues, key=self._turn)
            keys = [key for key in in_turn if key.kind == in_turn[0].kind]
            history, _, row_cost = keys[0].kind
            entries = [entry for key in keys for entry, _ in self._queues[key]]
            forming = BatchForming[W, A](history, row_cost, entries, start, drop, self._seconds_but(keys[0].kind))
            for _, same_priority in groupby(keys, key=lambda key: key.priority):
                forming.share([self._queues[key] for key in same_priority])
            self._charge(keys[0], forming.batch)
            self._remove_empty(keys)
            if forming.batch:
                return forming.batch
            if forming.num_hopeless:
                history.latency.doubt()
        return []

    def _turn(self, key: QueueKey) -> tuple[int, float, int]:
        return key.priority, self._used[key.model], self._turns[key]

    def _charge(self, first: QueueKey, batch: Batch[W, A]) -> None:
        self._level = self._used[first.model]
        self._num_batches += 1
        cost = cost_of(batch)
        seconds = first.kind.history.latency.seconds(cost)
        for entry, part in batch:
            self._used[entry.model] += seconds * part.num_rows * entry.row_cost / cost
            self._turns[QueueKey(entry.priority, entry.model, first.kind)] = 2 * self._num_batches + 1

    def _seconds_but(self, kind: BatchKind) -> float:
        """Return the seconds that the waiting rows of all other kinds are expected to take."""
        others = [(key.kind, queue) for key, queue in self._queues.items() if key.kind != kind]
        return sum(each.history.latency.seconds(sum(entry.cost_left for entry, _ in queue)) for each, queue in others)

    def _remove_empty(self, keys: Iterable[QueueKey]) -> None:
        for key in keys:
            if not self._queues[key]:
                del self._queues[key], self._turns[key]
        if not self._queues:
            self._used.clear()
            self._level = 0.0
