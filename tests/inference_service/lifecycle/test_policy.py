"""The policy, alone and as the driver of a small world that follows its steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.lifecycle.policy import (
    Load,
    Unload,
    VersionSnapshot,
    VersionState,
    is_settled,
    next_action,
)
from model_store.names import VersionName
from tests.inference_service.lifecycle.snapshots import after, names, version

snapshots = st.builds(
    VersionSnapshot, names, st.sampled_from(VersionState), st.booleans(), st.booleans(), st.floats(0, 20)
)

snapshots = st.lists(snapshots, unique_by=lambda each: each.name, max_size=8)


@given(snapshots, st.floats(0, 20))
def test_a_step_is_always_allowed(snapshot: list[VersionSnapshot], now: float) -> None:
    """Only what is wanted loads, one at a time; only what is unwanted and answers to no name is unloaded."""
    action = next_action(snapshot, now)
    if action is None:
        return
    chosen = next(each for each in snapshot if each.name == action.name)
    if isinstance(action, Unload):
        assert not chosen.wanted
        assert not chosen.answers
        assert chosen.state in {VersionState.PENDING, VersionState.READY, VersionState.FAILED}
        return
    assert chosen.wanted
    assert chosen.state not in {VersionState.READY, VersionState.LOADING}
    if chosen.state is not VersionState.DRAINING:
        assert all(each.state is not VersionState.LOADING for each in snapshot)
    if chosen.state is VersionState.FAILED:
        assert chosen.retry_at <= now


@given(snapshots, st.floats(0, 20), st.randoms())
def test_the_order_of_the_snapshot_does_not_matter(
    snapshot: list[VersionSnapshot], now: float, random: st.DataObject
) -> None:
    """The same snapshots in another order give the same step."""
    shuffled = list(snapshot)
    random.shuffle(shuffled)
    assert next_action(shuffled, now) == next_action(snapshot, now)


@given(snapshots, st.floats(0, 20))
def test_what_is_settled_may_be_left_out(snapshot: list[VersionSnapshot], now: float) -> None:
    """The step is the same without it."""
    unsettled = [each for each in snapshot if not is_settled(each)]
    assert next_action(unsettled, now) == next_action(snapshot, now)


@given(snapshots, st.data())
def test_following_the_steps_arrives(snapshot: list[VersionSnapshot], data: st.DataObject) -> None:
    """Whatever the start and whichever loads fail, what is wanted ends READY or FAILED and the rest is gone."""
    world = {each.name: replace(each, answers=False, retry_at=0.0) for each in snapshot}
    for _ in range(4 * len(world) + 1):
        for each in world.values():  # what is under way ends
            if each.state is VersionState.LOADING:
                ends = data.draw(st.sampled_from([VersionState.READY, VersionState.FAILED]))
                world[each.name] = replace(each, state=ends, retry_at=100.0)
            elif each.state is VersionState.DRAINING and not each.wanted:
                world[each.name] = replace(each, state=VersionState.UNLOADED)
        action = next_action(world.values(), now=50.0)
        if action is not None:
            world[action.name] = replace(world[action.name], state=after(action, world[action.name].state))
    assert next_action(world.values(), now=50.0) is None
    for each in world.values():
        assert each.state in ({VersionState.READY, VersionState.FAILED} if each.wanted else {VersionState.UNLOADED})


def test_the_new_version_loads_before_the_old_one_goes() -> None:
    """An unwanted version that still answers stays until the new one is ready and answers instead."""
    old = VersionSnapshot(version(1), VersionState.READY, wanted=False, answers=True)
    new = VersionSnapshot(version(2), VersionState.PENDING, wanted=True)
    assert next_action([old, new], 0) == Load(version(2))
    assert next_action([old, replace(new, state=VersionState.LOADING)], 0) is None
    assert next_action([old, replace(new, state=VersionState.FAILED, retry_at=9)], 0) is None
    ready = replace(new, state=VersionState.READY, answers=True)
    assert next_action([replace(old, answers=False), ready], 0) == Unload(version(1))


def test_a_version_wanted_again_while_it_drains_comes_back_at_once() -> None:
    """It is in memory still, so it does not wait for another that loads."""
    draining = VersionSnapshot(version(1), VersionState.DRAINING, wanted=True)
    loading = VersionSnapshot(version(2), VersionState.LOADING, wanted=True)
    assert next_action([loading, draining], 0) == Load(version(1))


@pytest.mark.parametrize(("now", "expected"), [(4.9, None), (5.0, Load(version(1)))])
def test_a_failed_version_waits_for_its_time(now: float, expected: Load | None) -> None:
    """A retry is due at `retry_at` and not before."""
    failed = VersionSnapshot(version(1), VersionState.FAILED, wanted=True, retry_at=5.0)
    assert next_action([failed], now) == expected


def test_a_retry_lets_new_versions_go_first() -> None:
    """A version that fails again and again does not hold up the others."""
    failed = VersionSnapshot(VersionName("birds", 1), VersionState.FAILED, wanted=True, retry_at=5.0)
    pending = VersionSnapshot(version(1), VersionState.PENDING, wanted=True)
    assert next_action([failed, pending], 6.0) == Load(version(1))
