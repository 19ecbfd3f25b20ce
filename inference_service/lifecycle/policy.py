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
class Standing:
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
    held: Callable[[], Iterable[Standing]]

    @property
    def num_bytes(self) -> int:
        """Bytes in memory."""
        return sum(self.stages.values())


def next_action(standings: Iterable[Standing], now: float, memory: Memory | None = None) -> Action | None:
    """Choose the next step; the same standings at the same time give the same step. Settled ones may be left out.

    Guarantees: at most one version loads at a time; what is needed again while it drains comes back first; what was
    asked for loads before what is wanted, in the order of asking, and versions that were never tried before retries;
    nothing loads that would exceed the budget; only what no request holds and is not pinned is evicted, and only where
    that makes enough room. Repeated steps end with every wanted version READY, FAILED or at rest, and every other gone,
    but for those that a name still needs and those that were asked for.
    """
    unsettled = [each for each in standings if not is_settled(each)]
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


def is_settled(standing: Standing) -> bool:
    """Say whether no step is due for a version, now or later, as long as nothing changes."""
    if standing.state is VersionState.READY:
        return not may_unload(standing, now=0.0)
    return standing.state is VersionState.UNLOADED and not is_needed(standing)


def turn(standing: Standing) -> tuple[object, ...]:
    """Return by what versions take turns; no two have the same."""
    asked_at = inf if standing.asked_at is None else standing.asked_at
    urgency = (asked_at, not standing.is_pinned, not standing.replaces)
    return (*urgency, standing.retry_at, standing.name.model_id, -standing.name.number)


def is_needed(standing: Standing) -> bool:
    """Say whether a version should be in memory."""
    return standing.asked_at is not None or (standing.wanted and not standing.at_rest)


def may_load(standing: Standing, now: float) -> bool:
    """Say whether a version may be loaded at this time."""
    if standing.state is VersionState.FAILED:
        return is_needed(standing) and standing.retry_at <= now
    return is_needed(standing) and standing.state in {VersionState.PENDING, VersionState.UNLOADED}


def may_unload(standing: Standing, now: float) -> bool:
    """Say whether a version may be unloaded at this time, or be given up."""
    if standing.wanted or standing.answers or standing.asked_at is not None:
        return False
    if standing.state is VersionState.FAILED:  # callers are told of the failure until it may be tried again
        return not standing.is_kept or standing.retry_at <= now
    return standing.state is VersionState.PENDING or (standing.state is VersionState.READY and not standing.is_kept)


def _load(loadable: Sequence[Standing], memory: Memory | None) -> Action:
    """Load the first of these; what waits for a busy version does not hold up what fits beside it."""
    if memory is None:
        return Load(loadable[0].name)
    steps = (_with_room(each, memory) for each in loadable)
    return next((each for each in steps if not isinstance(each, AwaitLeases)), AwaitLeases(loadable[0].name))


def _with_room(standing: Standing, memory: Memory) -> Action:
    """Load this version where it fits, else make room for it where it is urgent: one eviction, then look again."""
    if standing.stages is None:
        return Measure(standing.name)
    added = sum(size for key, size in standing.stages.items() if key not in memory.stages)
    if memory.num_bytes + added <= memory.budget_bytes:
        return Load(standing.name)
    held = list(memory.held())
    least = _num_bytes(standing, *(each for each in held if each.is_pinned))
    if least > memory.budget_bytes:
        return Refuse(standing.name, least, memory.budget_bytes)
    if not standing.is_urgent:
        return Rest(standing.name)
    if _num_bytes(standing, *(each for each in held if not _may_evict(each))) > memory.budget_bytes:
        return AwaitLeases(standing.name)
    return Evict(min(filter(_may_evict, held), key=_last_use).name)


def _too_much(memory: Memory) -> Evict | None:
    """Free memory where a load took more than was expected."""
    idle = min(filter(_may_evict, memory.held()), key=_last_use, default=None)
    return None if idle is None else Evict(idle.name)


def _may_evict(standing: Standing) -> bool:
    is_held = standing.is_pinned or standing.in_use or standing.asked_at is not None
    return standing.state is VersionState.READY and not is_held


def _last_use(standing: Standing) -> tuple[object, ...]:
    """Order by last use; a version that answers until its successor is loaded goes last."""
    return (standing.is_held_over, standing.used_at, standing.name)


def _num_bytes(*standings: Standing) -> int:
    """Add up the stages of these versions, a shared one once."""
    return sum({key: size for each in standings for key, size in (each.stages or {}).items()}.values())
