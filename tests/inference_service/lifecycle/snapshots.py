"""Snapshots of versions for tests of the policy: within a budget, in any state, and after an action."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import strategies as st

from inference_service.lifecycle.policy import (
    Action,
    Load,
    Memory,
    Unload,
    VersionSnapshot,
    VersionState,
    next_action,
)
from model_store.names import VersionName

names = st.builds(VersionName, st.sampled_from(["birds", "flowers"]), st.integers(1, 4))


def version(number: int) -> VersionName:
    """Name a version of the one model."""
    return VersionName("flowers", number)


def after(action: Load | Unload, state: VersionState) -> VersionState:
    """Return the state that an action leaves."""
    if isinstance(action, Unload):
        return VersionState.DRAINING
    return VersionState.READY if state is VersionState.DRAINING else VersionState.LOADING


BUDGET = 20

HOLDING = (VersionState.READY, VersionState.DRAINING)


def _possible(each: VersionSnapshot) -> VersionSnapshot:
    """Leave what is in memory measured, and what loads by wish not at rest."""
    is_held = each.state in HOLDING
    rests = each.is_deferred and each.state in {VersionState.UNLOADED, VersionState.FAILED}
    return replace(each, stages=each.stages or ({"a": 5} if is_held else None), is_deferred=rests)


# A few stages that versions have in common, so that evicting one may free little.
stages = st.dictionaries(st.sampled_from("abcdef"), st.just(0), min_size=1, max_size=4).map(
    lambda names: {name: 4 + ord(name) % 3 for name in names}
)

crowded = st.builds(
    VersionSnapshot,
    names,
    st.sampled_from(VersionState),
    wanted=st.booleans(),
    answers=st.booleans(),
    requested_at=st.none() | st.floats(0, 20),
    replaces=st.booleans(),
    is_being_replaced=st.booleans(),
    is_pinned=st.booleans(),
    is_on_demand=st.booleans(),
    is_deferred=st.booleans(),
    in_use=st.booleans(),
    used_at=st.floats(0, 20),
    stages=st.none() | stages,
).map(_possible)

crowds = st.lists(crowded, unique_by=lambda each: each.name, max_size=8)


def num_bytes(snapshots: Iterable[VersionSnapshot]) -> int:
    """Add up the stages of these, a shared one once."""
    return sum({name: size for each in snapshots for name, size in (each.stages or {}).items()}.values())


def step(crowd: Iterable[VersionSnapshot], now: float) -> Action | None:
    """Take the next step under the budget."""
    everybody = list(crowd)
    in_memory = {name: size for each in held(everybody) for name, size in (each.stages or {}).items()}
    return next_action(everybody, now, Memory(BUDGET, in_memory, lambda: held(everybody)))


def held(crowd: Iterable[VersionSnapshot]) -> list[VersionSnapshot]:
    """Return what is in memory."""
    return [each for each in crowd if each.state in HOLDING]
