"""Selects the few versions that the policy has to consider for its next action, of any number of them."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from operator import attrgetter

from inference_service.lifecycle.policy import (
    MAX_CANDIDATES,
    VersionSnapshot,
    VersionState,
    is_needed,
    is_settled,
    load_order,
    may_load,
    may_unload,
)
from model_store.names import VersionName

_UNTRIED = frozenset({VersionState.PENDING, VersionState.LOADING})
_Entry = tuple[object, int, VersionSnapshot]


class Agenda:
    """Holds the snapshots of unsettled versions, in the policy's load order.

    Guarantees: `next_action` chooses the same action from `due` as from all snapshots. `note` and `due` take time
    logarithmic in the number of versions. Times are of one monotonic clock.
    """

    def __init__(self) -> None:
        self._snapshots: dict[VersionName, VersionSnapshot] = {}
        self._untried: set[VersionName] = set()
        self._loading: dict[VersionName, VersionSnapshot] = {}
        self._revived, self._loadable, self._unloadable = (_Ordered(load_order, self._is_current) for _ in range(3))
        self._later = _Ordered(attrgetter("retry_at"), self._is_current)
        self._now = -inf

    @property
    def has_untried(self) -> bool:
        """Say whether a version has not had its first attempt: it was not loaded, failed or deferred."""
        return bool(self._untried)

    def note(self, snapshot: VersionSnapshot) -> None:
        """Record the snapshot of a version."""
        if snapshot == self._snapshots.get(snapshot.name):
            return
        self.forget(snapshot.name)
        if is_settled(snapshot):
            return
        self._snapshots[snapshot.name] = snapshot
        if snapshot.state in _UNTRIED:
            self._untried.add(snapshot.name)
        if snapshot.state is VersionState.FAILED and snapshot.retry_at > self._now and not may_unload(snapshot, -inf):
            self._later.push(snapshot)
        else:
            self._sort_in(snapshot)

    def forget(self, name: VersionName) -> None:
        """Drop a version."""
        self._snapshots.pop(name, None)
        self._loading.pop(name, None)
        self._untried.discard(name)

    def due(self, now: float) -> list[VersionSnapshot]:
        """Return the snapshots from which the next action is chosen at this time."""
        self._now = now
        while (waiting := self._later.first(1)) and waiting[0].retry_at <= now:
            self._later.pop()
            self._sort_in(waiting[0])
        loading = next(iter(self._loading.values()), None)
        found = [*self._revived.first(1), *self._loadable.first(MAX_CANDIDATES), *self._unloadable.first(1)]
        return found if loading is None else [loading, *found]

    def _sort_in(self, snapshot: VersionSnapshot) -> None:
        """Put a snapshot into the queue of its possible action, ignoring retry times."""
        if snapshot.state is VersionState.LOADING:
            self._loading[snapshot.name] = snapshot
        elif snapshot.state is VersionState.DRAINING and is_needed(snapshot):
            self._revived.push(snapshot)
        elif may_load(snapshot, inf):
            self._loadable.push(snapshot)
        elif may_unload(snapshot, inf):
            self._unloadable.push(snapshot)

    def _is_current(self, snapshot: VersionSnapshot) -> bool:
        return self._snapshots.get(snapshot.name) is snapshot


class _Ordered:
    """Snapshots in the order of a key; an outdated one is dropped when it reaches the front."""

    def __init__(self, key: Callable[[VersionSnapshot], object], is_current: Callable[[VersionSnapshot], bool]) -> None:
        self._key = key
        self._is_current = is_current
        self._heap: list[_Entry] = []
        self._numbers = count()
        self._num_checked = 0

    def push(self, snapshot: VersionSnapshot) -> None:
        heappush(self._heap, (self._key(snapshot), next(self._numbers), snapshot))
        if len(self._heap) > 2 * self._num_checked + MAX_CANDIDATES:
            self._heap = [entry for entry in self._heap if self._is_current(entry[2])]
            heapify(self._heap)
            self._num_checked = len(self._heap)

    def pop(self) -> None:
        heappop(self._heap)

    def first(self, num: int) -> list[VersionSnapshot]:
        """Return the first few that are current."""
        found: list[_Entry] = []
        while self._heap and len(found) < num:
            entry = heappop(self._heap)
            if self._is_current(entry[2]):
                found.append(entry)
        for entry in found:
            heappush(self._heap, entry)
        return [entry[2] for entry in found]
