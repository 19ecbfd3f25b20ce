"""What to do next with the versions of this service: one load, one unload, or nothing. Pure.

A version is unloaded only when it is unwanted and nothing is answered from it, so a new one is always loaded before the
old one goes, and the old one stays where the new one fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from model_store.names import VersionName


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
    only of FAILED ones.
    """

    name: VersionName
    state: VersionState
    wanted: bool
    answers: bool = False
    retry_at: float = 0.0


@dataclass(frozen=True)
class Load:
    """Make this version ready: load it, or take it back where it still drains."""

    name: VersionName


@dataclass(frozen=True)
class Unload:
    """Let this version take no new request, and free it after those it has."""

    name: VersionName


def next_action(standings: Iterable[Standing], now: float) -> Load | Unload | None:
    """Choose the next step; the same standings at the same time give the same step.

    Guarantees: at most one version loads at a time; what is wanted again while it drains comes back first; versions
    that were never tried load before retries; repeated steps end with every wanted version READY or FAILED and every
    other gone, but for those that a name still needs.
    """
    ordered = sorted(standings, key=lambda each: (each.retry_at, each.name.model_id, -each.name.number))
    loads_now = any(each.state is VersionState.LOADING for each in ordered)
    revived = [each for each in ordered if each.wanted and each.state is VersionState.DRAINING]
    loadable = [each for each in ordered if not loads_now and _may_load(each, now)]
    if chosen := revived or loadable:
        return Load(chosen[0].name)
    return next((Unload(each.name) for each in ordered if _may_unload(each)), None)


def _may_load(standing: Standing, now: float) -> bool:
    if standing.state is VersionState.FAILED:
        return standing.wanted and standing.retry_at <= now
    return standing.wanted and standing.state in {VersionState.PENDING, VersionState.UNLOADED}


def _may_unload(standing: Standing) -> bool:
    held = standing.state in {VersionState.PENDING, VersionState.READY, VersionState.FAILED}
    return held and not standing.wanted and not standing.answers
