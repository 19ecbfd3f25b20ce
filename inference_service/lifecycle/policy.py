"""What to do next with the versions of this service: one load, one unload, or nothing. Pure.

A version is unloaded only when nothing is answered from it and nobody wants it, or when its room is needed. A new one
is always loaded before the old one goes, where memory holds both, and the old one stays where the new one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from math import inf

from model_store.names import VersionName

NUM_LOOKED_AT = 8  # versions that wait for room, each step: where memory is short, many may


class VersionState(StrEnum):
    """Where a version stands in this service."""

    PENDING = "pending"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    UNLOADED = "unloaded"


@dataclass(frozen=True)
class VersionSnapshot:
    """What the policy knows of one version.

    `answers`: an alias, or the model's own name, is answered from it now. `retry_at`: when loading may be tried again;
    only of FAILED ones. `asked_at`: since when a request waits for it. `replaces`: a name that should be answered from
    it is answered from the version before, which `is_held_over`. `is_kept`: it was loaded because it was asked for, and
    stays though nobody wants it. `at_rest`: it had to make room, or found none, and waits until it is asked for.
    `in_use`: requests hold it. `used_at`: when one last did. `stages`: bytes of what of it is in memory, or would be;
    None where that is not known yet.
    """

    name: VersionName
    state: VersionState
    wanted: bool
    answers: bool = False
    retry_at: float = 0.0
    asked_at: float | None = None
    replaces: bool = False
    is_held_over: bool = False
    is_pinned: bool = False
    is_kept: bool = False
    at_rest: bool = False
    in_use: bool = False
    used_at: float = 0.0
    stages: Mapping[Hashable, int] | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether others make room for it; what is merely wanted takes what room there is."""
        return self.asked_at is not None or self.replaces or self.is_pinned


@dataclass(frozen=True)
class Load:
    """Make this version ready: load it, or take it back where it still drains."""

    name: VersionName


@dataclass(frozen=True)
class Unload:
    """Let this version take no new request, and free it after those it has."""

    name: VersionName


@dataclass(frozen=True)
class Measure:
    """Find out how many bytes each stage of this version takes."""

    name: VersionName


@dataclass(frozen=True)
class Evict:
    """Free this version, which no request holds, to make room; it comes back when it is asked for."""

    name: VersionName


@dataclass(frozen=True)
class Rest:
    """Do not load this version before it is asked for: there is no free room."""

    name: VersionName


@dataclass(frozen=True)
class Refuse:
    """Fail this version: it takes `num_bytes` with all that is pinned, more than the budget."""

    name: VersionName
    num_bytes: int
    budget_bytes: int


@dataclass(frozen=True)
class AwaitLeases:
    """Do nothing until a request has ended: then there may be room for this version."""

    name: VersionName


Action = Load | Unload | Measure | Evict | Rest | Refuse | AwaitLeases


@dataclass(frozen=True)
class Memory:
    """The budget, the bytes of each stage that is in memory, and whose they are: read only where room is short."""

    budget_bytes: int
    stages: Mapping[Hashable, int]
    held: Callable[[], Iterable[VersionSnapshot]]

    @property
    def num_bytes(self) -> int:
        """Bytes in memory."""
        return sum(self.stages.values())


def next_action(snapshots: Iterable[VersionSnapshot], now: float, memory: Memory | None = None) -> Action | None:
    """Choose the next step; the same snapshots at the same time give the same step. Settled ones may be left out.

    Guarantees: at most one version loads at a time; what is needed again while it drains comes back first; what was
    asked for loads before what is wanted, in the order of asking, and versions that were never tried before retries;
    nothing loads that would exceed the budget; only what no request holds and is not pinned is evicted, and only where
    that makes enough room. Repeated steps end with every wanted version READY, FAILED or at rest, and every other gone,
    but for those that a name still needs and those that were asked for.
    """
    unsettled = [each for each in snapshots if not is_settled(each)]
    loads_now = any(each.state is VersionState.LOADING for each in unsettled)
    revived = [each for each in unsettled if each.state is VersionState.DRAINING and is_needed(each)]
    loadable = [each for each in unsettled if not loads_now and may_load(each, now)]
    unloadable = [each for each in unsettled if may_unload(each, now)]
    if revived:
        return Load(min(revived, key=turn).name)
    if memory is not None and memory.num_bytes > memory.budget_bytes and (evicted := _too_much(memory)):
        return evicted
    step = _load(nsmallest(NUM_LOOKED_AT, loadable, key=turn), memory) if loadable else None
    if unloadable and not isinstance(step, Load | Measure | Refuse):
        return Unload(min(unloadable, key=turn).name)
    return step


def is_settled(snapshot: VersionSnapshot) -> bool:
    """Say whether no step is due for a version, now or later, as long as nothing changes."""
    if snapshot.state is VersionState.READY:
        return not may_unload(snapshot, now=0.0)
    return snapshot.state is VersionState.UNLOADED and not is_needed(snapshot)


def turn(snapshot: VersionSnapshot) -> tuple[object, ...]:
    """Return by what versions take turns; no two have the same."""
    asked_at = inf if snapshot.asked_at is None else snapshot.asked_at
    urgency = (asked_at, not snapshot.is_pinned, not snapshot.replaces)
    return (*urgency, snapshot.retry_at, snapshot.name.model_id, -snapshot.name.number)


def is_needed(snapshot: VersionSnapshot) -> bool:
    """Say whether a version should be in memory."""
    return snapshot.asked_at is not None or (snapshot.wanted and not snapshot.at_rest)


def may_load(snapshot: VersionSnapshot, now: float) -> bool:
    """Say whether a version may be loaded at this time."""
    if snapshot.state is VersionState.FAILED:
        return is_needed(snapshot) and snapshot.retry_at <= now
    return is_needed(snapshot) and snapshot.state in {VersionState.PENDING, VersionState.UNLOADED}


def may_unload(snapshot: VersionSnapshot, now: float) -> bool:
    """Say whether a version may be unloaded at this time, or be given up."""
    if snapshot.wanted or snapshot.answers or snapshot.asked_at is not None:
        return False
    if snapshot.state is VersionState.FAILED:  # callers are told of the failure until it may be tried again
        return not snapshot.is_kept or snapshot.retry_at <= now
    return snapshot.state is VersionState.PENDING or (snapshot.state is VersionState.READY and not snapshot.is_kept)


def _load(loadable: Sequence[VersionSnapshot], memory: Memory | None) -> Action:
    """Load the first of these; what waits for a busy version does not hold up what fits beside it."""
    if memory is None:
        return Load(loadable[0].name)
    steps = (_with_room(each, memory) for each in loadable)
    return next((each for each in steps if not isinstance(each, AwaitLeases)), AwaitLeases(loadable[0].name))


def _with_room(snapshot: VersionSnapshot, memory: Memory) -> Action:
    """Load this version where it fits, else make room for it where it is urgent: one eviction, then look again."""
    if snapshot.stages is None:
        return Measure(snapshot.name)
    added = sum(size for key, size in snapshot.stages.items() if key not in memory.stages)
    if memory.num_bytes + added <= memory.budget_bytes:
        return Load(snapshot.name)
    held = list(memory.held())
    least = _num_bytes(snapshot, *(each for each in held if each.is_pinned))
    if least > memory.budget_bytes:
        return Refuse(snapshot.name, least, memory.budget_bytes)
    if not snapshot.is_urgent:
        return Rest(snapshot.name)
    if _num_bytes(snapshot, *(each for each in held if not _may_evict(each))) > memory.budget_bytes:
        return AwaitLeases(snapshot.name)
    return Evict(min(filter(_may_evict, held), key=_last_use).name)


def _too_much(memory: Memory) -> Evict | None:
    """Free memory where a load took more than was expected."""
    idle = min(filter(_may_evict, memory.held()), key=_last_use, default=None)
    return None if idle is None else Evict(idle.name)


def _may_evict(snapshot: VersionSnapshot) -> bool:
    is_held = snapshot.is_pinned or snapshot.in_use or snapshot.asked_at is not None
    return snapshot.state is VersionState.READY and not is_held


def _last_use(snapshot: VersionSnapshot) -> tuple[object, ...]:
    """Order by last use; a version that answers until its successor is loaded goes last."""
    return (snapshot.is_held_over, snapshot.used_at, snapshot.name)


def _num_bytes(*snapshots: VersionSnapshot) -> int:
    """Add up the stages of these versions, a shared one once."""
    return sum({key: size for each in snapshots for key, size in (each.stages or {}).items()}.values())
