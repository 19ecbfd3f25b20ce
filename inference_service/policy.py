"""What to do next with the versions of this service: one load, one unload, or nothing. Pure.

A version is unloaded only when nothing is answered from it and nobody wants it, or when its room is needed. A new one
is always loaded before the old one goes, where memory holds both, and the old one stays where the new one fails.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from model_store.names import VersionName

_NUM_LOOKED_AT = 8  # versions that wait for room, each step: where memory is short, many may


class VersionState(StrEnum):
    """Where a version stands in this service."""

    PENDING = "pending"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    UNLOADED = "unloaded"


_HOLDING = {VersionState.READY, VersionState.DRAINING}


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


def next_action(standings: Iterable[Standing], now: float, budget_bytes: int | None = None) -> Action | None:
    """Choose the next step; the same standings at the same time give the same step.

    Guarantees: at most one version loads at a time; what is needed again while it drains comes back first; what was
    asked for loads before what is wanted, in the order of asking, and versions that were never tried before retries;
    nothing loads that would exceed the budget; only what no request holds and is not pinned is evicted, and only where
    that makes enough room. Repeated steps end with every wanted version READY, FAILED or at rest, and every other gone,
    but for those that a name still needs and those that were asked for.
    """
    ordered = sorted(standings, key=_turn)
    revived = [each for each in ordered if each.state is VersionState.DRAINING and _is_needed(each)]
    loadable = [each for each in ordered if _may_load(each, now)]
    unloadable = [Unload(each.name) for each in ordered if _may_unload(each, now)]
    if revived:
        return Load(revived[0].name)
    if budget_bytes is not None and (evicted := _too_much(ordered, budget_bytes)):
        return evicted
    if not loadable or any(each.state is VersionState.LOADING for each in ordered):
        return next(iter(unloadable), None)
    if budget_bytes is None:
        return Load(loadable[0].name)
    # What waits for a busy version does not hold up what fits beside it.
    steps = (_with_room(each, ordered, budget_bytes) for each in loadable[:_NUM_LOOKED_AT])
    step = next((each for each in steps if not isinstance(each, AwaitLeases)), AwaitLeases(loadable[0].name))
    makes_room = isinstance(step, Evict | Rest | AwaitLeases)
    return unloadable[0] if makes_room and unloadable else step


def _turn(standing: Standing) -> tuple[object, ...]:
    asked_at = inf if standing.asked_at is None else standing.asked_at
    urgency = (asked_at, not standing.is_pinned, not standing.replaces)
    return (*urgency, standing.retry_at, standing.name.model_id, -standing.name.number)


def _is_needed(standing: Standing) -> bool:
    return standing.asked_at is not None or (standing.wanted and not standing.at_rest)


def _may_load(standing: Standing, now: float) -> bool:
    if standing.state is VersionState.FAILED:
        return _is_needed(standing) and standing.retry_at <= now
    return _is_needed(standing) and standing.state in {VersionState.PENDING, VersionState.UNLOADED}


def _may_unload(standing: Standing, now: float) -> bool:
    if standing.wanted or standing.answers or standing.asked_at is not None:
        return False
    if standing.state is VersionState.FAILED:  # callers are told of the failure until it may be tried again
        return not standing.is_kept or standing.retry_at <= now
    return standing.state is VersionState.PENDING or (standing.state is VersionState.READY and not standing.is_kept)


def _with_room(standing: Standing, others: Sequence[Standing], budget_bytes: int) -> Action:
    """Load this version where it fits, else make room for it where it is urgent: one eviction, then look again."""
    if standing.stages is None:
        return Measure(standing.name)
    held = [each for each in others if each.state in _HOLDING]
    if _num_bytes(standing, *held) <= budget_bytes:
        return Load(standing.name)
    least = _num_bytes(standing, *(each for each in held if each.is_pinned))
    if least > budget_bytes:
        return Refuse(standing.name, least, budget_bytes)
    if not standing.is_urgent:
        return Rest(standing.name)
    idle = [each for each in held if _may_evict(each)]
    if _num_bytes(standing, *(each for each in held if each not in idle)) > budget_bytes:
        return AwaitLeases(standing.name)
    return Evict(min(idle, key=_last_use).name)


def _too_much(standings: Sequence[Standing], budget_bytes: int) -> Evict | None:
    """Free memory where a load took more than was expected."""
    idle = [each for each in standings if _may_evict(each)]
    if not idle or _num_bytes(*(each for each in standings if each.state in _HOLDING)) <= budget_bytes:
        return None
    return Evict(min(idle, key=_last_use).name)


def _may_evict(standing: Standing) -> bool:
    is_held = standing.is_pinned or standing.in_use or standing.asked_at is not None
    return standing.state is VersionState.READY and not is_held


def _last_use(standing: Standing) -> tuple[object, ...]:
    """Order by last use; a version that answers until its successor is loaded goes last."""
    return (standing.is_held_over, standing.used_at, standing.name)


def _num_bytes(*standings: Standing) -> int:
    """Add up the stages of these versions, a shared one once."""
    return sum({key: size for each in standings for key, size in (each.stages or {}).items()}.values())
