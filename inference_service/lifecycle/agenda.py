"""Which few of the versions the policy has to look at for its next step, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from operator import attrgetter

from inference_service.lifecycle.policy import (
    NUM_LOOKED_AT,
    VersionSnapshot,
    VersionState,
    is_needed,
    is_settled,
    may_load,
    may_unload,
    turn,
)
from model_store.names import VersionName

_UNTRIED = frozenset({VersionState.PENDING, VersionState.LOADING})
_Entry = tuple[object, int, VersionSnapshot]


class Agenda:
    """Holds how the unsettled versions stand, in the order in which the policy takes them.

    Guarantees: `next_action` chooses the same of those that are `due` as it would of all. Noting one and asking for
    those due takes a time that hardly grows with their number. Times are by one clock and never go back.
    """

    def __init__(self) -> None:
        self._snapshots: dict[VersionName, VersionSnapshot] = {}
        self._untried: set[VersionName] = set()
        self._loading: dict[VersionName, VersionSnapshot] = {}
        self._revived, self._loadable, self._unloadable = (_Ordered(turn, self._is_current) for _ in range(3))
        self._later = _Ordered(attrgetter("retry_at"), self._is_current)
        self._now = -inf

    @property
    def has_untried(self) -> bool:
        """Say whether a version was neither loaded, nor failed to, nor found no room yet."""
        return bool(self._untried)

    def note(self, snapshot: VersionSnapshot) -> None:
        """Take down how a version stands now."""
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
        """Take a version off."""
        self._snapshots.pop(name, None)
        self._loading.pop(name, None)
        self._untried.discard(name)

    def due(self, now: float) -> list[VersionSnapshot]:
        """Return those among which the next step is chosen at this time."""
        self._now = now
        while (waiting := self._later.first(1)) and waiting[0].retry_at <= now:
            self._later.pop()
            self._sort_in(waiting[0])
        loading = next(iter(self._loading.values()), None)
        found = [*self._revived.first(1), *self._loadable.first(NUM_LOOKED_AT), *self._unloadable.first(1)]
        return found if loading is None else [loading, *found]

    def _sort_in(self, snapshot: VersionSnapshot) -> None:
        """Put a version where it belongs once no time stands in its way."""
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
    """Standings in the order of a key; those that are out of date are dropped when they come to the front."""

    def __init__(self, key: Callable[[VersionSnapshot], object], is_current: Callable[[VersionSnapshot], bool]) -> None:
        self._key = key
        self._is_current = is_current
        self._heap: list[_Entry] = []
        self._numbers = count()
        self._num_checked = 0

    def push(self, snapshot: VersionSnapshot) -> None:
        heappush(self._heap, (self._key(snapshot), next(self._numbers), snapshot))
        if len(self._heap) > 2 * self._num_checked + NUM_LOOKED_AT:
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
