"""The next action for the versions of this service: one load, one unload, or nothing. Pure.

A version is unloaded only when no name is answered from it and it is not desired, or when its memory is needed. Where
memory holds both, the new version is loaded before the old one is unloaded. The old one stays where the new one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from math import inf

from model_store.names import VersionName

MAX_CANDIDATES = 8  # versions considered for loading in one step: thousands may wait where memory is short


class VersionState(StrEnum):
    """The lifecycle of a version in this service."""

    PENDING = "pending"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    UNLOADED = "unloaded"


@dataclass(frozen=True)
class VersionSnapshot:
    """The policy's view of one version.

    `wanted`: it is desired. `answers`: an alias, or the model's own name, is answered from it now. `retry_at`: the time
    from which loading may be retried (FAILED versions only). `requested_at`: the time since which a request waits for
    it. `replaces`: a name that should be answered from it is still answered from the previous version, which
    `is_being_replaced`. `is_on_demand`: a request loaded it, and it stays though it is not desired. `is_deferred`: it
    was evicted, or memory was short, and it is loaded at the next request. `in_use`: requests hold it. `used_at`: the
    time of the last lease. `stages`: bytes of each of its stages, loaded or not; None before they are measured.
    """

    name: VersionName
    state: VersionState
    wanted: bool
    answers: bool = False
    retry_at: float = 0.0
    requested_at: float | None = None
    replaces: bool = False
    is_being_replaced: bool = False
    is_pinned: bool = False
    is_on_demand: bool = False
    is_deferred: bool = False
    in_use: bool = False
    used_at: float = 0.0
    stages: Mapping[Hashable, int] | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether other versions are evicted for it. A version that is only desired takes free memory."""
        return self.requested_at is not None or self.replaces or self.is_pinned


@dataclass(frozen=True)
class Load:
    """Make this version READY: load it, or cancel its draining."""

    name: VersionName


@dataclass(frozen=True)
class Unload:
    """Grant no new lease on this version, and free it after its last lease."""

    name: VersionName


@dataclass(frozen=True)
class Measure:
    """Measure the bytes of each stage of this version."""

    name: VersionName


@dataclass(frozen=True)
class Evict:
    """Free the memory of this version, which no request holds; the next request loads it again."""

    name: VersionName


@dataclass(frozen=True)
class Defer:
    """Load this version at its next request and not before, because no memory is free."""

    name: VersionName


@dataclass(frozen=True)
class Refuse:
    """Fail this version: together with the pinned versions it takes `num_bytes`, which exceeds the budget."""

    name: VersionName
    num_bytes: int
    budget_bytes: int


@dataclass(frozen=True)
class AwaitLeases:
    """Wait until a lease ends: then memory may be free for this version."""

    name: VersionName


Action = Load | Unload | Measure | Evict | Defer | Refuse | AwaitLeases


@dataclass(frozen=True)
class Memory:
    """The budget, the bytes of each stage in memory, and the versions that hold them (read when memory is short)."""

    budget_bytes: int
    stages: Mapping[Hashable, int]
    held: Callable[[], Iterable[VersionSnapshot]]

    @property
    def num_bytes(self) -> int:
        """Bytes in memory."""
        return sum(self.stages.values())


def next_action(snapshots: Iterable[VersionSnapshot], now: float, memory: Memory | None = None) -> Action | None:
    """Choose the next action. Equal snapshots at an equal time give an equal action; settled snapshots may be left out.

    Guarantees: at most one version loads at a time. A draining version that is needed again comes back first. Requested
    versions load before desired ones, in the order of their requests; first attempts come before retries. No load
    exceeds the budget. Only a version without leases that is not pinned is evicted, and only where that frees enough
    memory. Repeated actions end with every desired version READY, FAILED or deferred, and every other version unloaded,
    except those that still answer a name and those that were loaded on demand.
    """
    unsettled = [each for each in snapshots if not is_settled(each)]
    loads_now = any(each.state is VersionState.LOADING for each in unsettled)
    revived = [each for each in unsettled if each.state is VersionState.DRAINING and is_needed(each)]
    loadable = [each for each in unsettled if not loads_now and may_load(each, now)]
    unloadable = [each for each in unsettled if may_unload(each, now)]
    if revived:
        return Load(min(revived, key=load_order).name)
    if memory is not None and memory.num_bytes > memory.budget_bytes and (evicted := _too_much(memory)):
        return evicted
    step = _load(nsmallest(MAX_CANDIDATES, loadable, key=load_order), memory) if loadable else None
    if unloadable and not isinstance(step, Load | Measure | Refuse):
        return Unload(min(unloadable, key=load_order).name)
    return step


def is_settled(snapshot: VersionSnapshot) -> bool:
    """Say whether no action is due for a version, now or later, until it changes."""
    if snapshot.state is VersionState.READY:
        return not may_unload(snapshot, now=0.0)
    return snapshot.state is VersionState.UNLOADED and not is_needed(snapshot)


def load_order(snapshot: VersionSnapshot) -> tuple[object, ...]:
    """Return the sort key in which versions are loaded; no two versions have the same key."""
    requested_at = inf if snapshot.requested_at is None else snapshot.requested_at
    urgency = (requested_at, not snapshot.is_pinned, not snapshot.replaces)
    return (*urgency, snapshot.retry_at, snapshot.name.model_id, -snapshot.name.number)


def is_needed(snapshot: VersionSnapshot) -> bool:
    """Say whether a version should be in memory."""
    return snapshot.requested_at is not None or (snapshot.wanted and not snapshot.is_deferred)


def may_load(snapshot: VersionSnapshot, now: float) -> bool:
    """Say whether a version may be loaded at this time."""
    if snapshot.state is VersionState.FAILED:
        return is_needed(snapshot) and snapshot.retry_at <= now
    return is_needed(snapshot) and snapshot.state in {VersionState.PENDING, VersionState.UNLOADED}


def may_unload(snapshot: VersionSnapshot, now: float) -> bool:
    """Say whether a version may be unloaded at this time, or be given up."""
    if snapshot.wanted or snapshot.answers or snapshot.requested_at is not None:
        return False
    if snapshot.state is VersionState.FAILED:  # requests see the failure until the next retry is due
        return not snapshot.is_on_demand or snapshot.retry_at <= now
    return snapshot.state is VersionState.PENDING or (
        snapshot.state is VersionState.READY and not snapshot.is_on_demand
    )


def _load(loadable: Sequence[VersionSnapshot], memory: Memory | None) -> Action:
    """Load the first version that fits; a version that waits for the end of a lease blocks no other."""
    if memory is None:
        return Load(loadable[0].name)
    steps = (_with_room(each, memory) for each in loadable)
    return next((each for each in steps if not isinstance(each, AwaitLeases)), AwaitLeases(loadable[0].name))


def _with_room(snapshot: VersionSnapshot, memory: Memory) -> Action:
    """Load this version if it fits; else, if it is urgent, evict one version and look again."""
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
        return Defer(snapshot.name)
    if _num_bytes(snapshot, *(each for each in held if not _may_evict(each))) > memory.budget_bytes:
        return AwaitLeases(snapshot.name)
    return Evict(min(filter(_may_evict, held), key=_last_use).name)


def _too_much(memory: Memory) -> Evict | None:
    """Evict a version after a load that took more memory than measured."""
    idle = min(filter(_may_evict, memory.held()), key=_last_use, default=None)
    return None if idle is None else Evict(idle.name)


def _may_evict(snapshot: VersionSnapshot) -> bool:
    is_held = snapshot.is_pinned or snapshot.in_use or snapshot.requested_at is not None
    return snapshot.state is VersionState.READY and not is_held


def _last_use(snapshot: VersionSnapshot) -> tuple[object, ...]:
    """Order by last use; a version that answers until its successor is loaded comes last."""
    return (snapshot.is_being_replaced, snapshot.used_at, snapshot.name)


def _num_bytes(*snapshots: VersionSnapshot) -> int:
    """Add up the stages of these versions, a shared one once."""
    return sum({key: size for each in snapshots for key, size in (each.stages or {}).items()}.values())
