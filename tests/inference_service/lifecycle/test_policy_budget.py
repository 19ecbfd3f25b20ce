"""The policy under a memory budget, alone and as the driver of a small world that follows its steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference_service.lifecycle.policy import (
    Action,
    AwaitLeases,
    Defer,
    Evict,
    Load,
    Measure,
    Refuse,
    Unload,
    VersionSnapshot,
    VersionState,
    next_action,
)
from tests.inference_service.lifecycle.snapshots import (
    BUDGET,
    after,
    crowds,
    held,
    num_bytes,
    step,
    version,
)


@given(crowds, st.floats(0, 20))
def test_nothing_loads_beyond_the_budget(crowd: list[VersionSnapshot], now: float) -> None:
    """What is known to fit loads; what could not, with all else gone but the pinned, is refused with its bytes."""
    action = step(crowd, now)
    chosen = next((each for each in crowd if action is not None and each.name == action.name), None)
    pinned = [each for each in held(crowd) if each.is_pinned]
    if isinstance(action, Load) and chosen is not None and chosen.state is not VersionState.DRAINING:
        assert chosen.stages is not None
        assert num_bytes([chosen, *held(crowd)]) <= BUDGET
    if isinstance(action, Refuse) and chosen is not None:
        assert action == Refuse(chosen.name, num_bytes([chosen, *pinned]), BUDGET)
        assert action.num_bytes > BUDGET


@given(crowds, st.floats(0, 20))
def test_only_the_least_recently_used_makes_room(crowd: list[VersionSnapshot], now: float) -> None:
    """Not what is pinned, in use or asked for; a version that waits for its successor goes last."""
    action = step(crowd, now)
    if not isinstance(action, Evict):
        return
    idle = [
        each
        for each in crowd
        if each.state is VersionState.READY and not (each.is_pinned or each.in_use or each.requested_at is not None)
    ]
    chosen = next(each for each in idle if each.name == action.name)
    for other in idle:
        assert (chosen.is_being_replaced, chosen.used_at) <= (other.is_being_replaced, other.used_at)


@given(crowds, st.floats(0, 20))
def test_nobody_makes_room_in_vain_or_for_a_mere_wish(crowd: list[VersionSnapshot], now: float) -> None:
    """Where nothing is over the budget, an eviction is for something urgent that fits once all that may go is gone."""
    action = step(crowd, now)
    if not isinstance(action, Evict) or num_bytes(held(crowd)) > BUDGET:
        return
    stays = [each for each in held(crowd) if each.is_pinned or each.in_use or each.requested_at is not None]
    stays += [each for each in crowd if each.state is VersionState.DRAINING]
    assert any(
        each.is_urgent and each.stages is not None and num_bytes([each, *stays]) <= BUDGET
        for each in crowd
        if each.state in {VersionState.PENDING, VersionState.UNLOADED, VersionState.FAILED}
    )


@given(crowds, st.randoms())
def test_the_order_does_not_matter_under_a_budget_either(crowd: list[VersionSnapshot], random: st.DataObject) -> None:
    """The same snapshots in another order give the same step."""
    shuffled = list(crowd)
    random.shuffle(shuffled)
    assert step(shuffled, 10.0) == step(crowd, 10.0)


@given(crowds)
def test_following_the_steps_arrives_under_a_budget(crowd: list[VersionSnapshot]) -> None:
    """Once no request is under way memory is within the budget, and everybody who asked has had an answer."""
    world = {each.name: replace(each, answers=False, in_use=False, replaces=False) for each in crowd}
    for _ in range(12 * len(world) + 1):
        for name, each in world.items():
            world[name] = _answered(_later(each))
        action = step(world.values(), 50.0)
        assert not isinstance(action, AwaitLeases)
        if action is not None:
            world[action.name] = _stepped(world[action.name], action)
    assert step(world.values(), 50.0) is None
    assert not any(_answered(each).requested_at is not None for each in world.values())
    assert num_bytes(held(world.values())) <= BUDGET or not any(not each.is_pinned for each in held(world.values()))
    for each in world.values():
        assert each.state is not VersionState.PENDING
        assert each.state is not VersionState.READY or each.wanted or each.is_on_demand


def _later(each: VersionSnapshot) -> VersionSnapshot:
    """End what is under way."""
    if each.state is VersionState.LOADING:
        return replace(each, state=VersionState.READY, is_deferred=False)
    if each.state is VersionState.DRAINING and each.requested_at is None and (each.is_deferred or not each.wanted):
        return replace(each, state=VersionState.UNLOADED)
    return each


def _answered(each: VersionSnapshot) -> VersionSnapshot:
    """Let go whoever waited for what is settled now."""
    is_settled = each.state in {VersionState.READY, VersionState.FAILED}
    return replace(each, requested_at=None) if is_settled else each


def _stepped(each: VersionSnapshot, action: Action) -> VersionSnapshot:
    match action:
        case Measure():
            return replace(each, stages={"a": 5, "b": 6})
        case Evict():
            return replace(each, state=VersionState.UNLOADED, is_deferred=True)
        case Defer():
            return replace(each, state=VersionState.UNLOADED, is_deferred=True)
        case Refuse():
            return replace(each, state=VersionState.FAILED, retry_at=100.0)
        case Load() | Unload():
            return replace(each, state=after(action, each.state))
    raise AssertionError(action)


def ready(number: int, used_at: float, **more: Any) -> VersionSnapshot:
    """A version in memory that takes 10 bytes of its own."""
    defaults = {"wanted": True, "stages": {number: 10}}
    return VersionSnapshot(version(number), VersionState.READY, used_at=used_at, **(defaults | more))


def asked(number: int, **more: Any) -> VersionSnapshot:
    """A version that a request waits for; it takes 10 bytes of its own."""
    defaults = {"wanted": True, "is_deferred": True, "requested_at": 5.0, "stages": {number: 10}}
    return VersionSnapshot(version(number), VersionState.UNLOADED, **(defaults | more))


def test_the_least_recently_used_makes_room_one_at_a_time() -> None:
    """As many as it takes, and no more."""
    large = asked(9, stages={9: 15})
    first, second = ready(1, 2.0), ready(2, 1.0)
    assert step([first, second, large], 9.0) == Evict(version(2))
    gone = replace(second, state=VersionState.UNLOADED, is_deferred=True)
    assert step([first, gone, large], 9.0) == Evict(version(1))
    assert step([gone, large], 9.0) == Load(version(9))


def test_shared_stages_count_once() -> None:
    """A fine-tune of what is loaded adds its head alone."""
    first, second = ready(1, 1.0, stages={"backbone": 15, 1: 2}), asked(2, stages={"backbone": 15, 2: 2})
    assert step([first, second], 9.0) == Load(version(2))


def test_what_is_merely_wanted_takes_free_room_only() -> None:
    """Else it rests until it is asked for, and is not tried again before."""
    full = [ready(1, 1.0), ready(2, 2.0)]
    pending = asked(3, is_deferred=False, requested_at=None)
    assert step([*full, pending], 9.0) == Defer(version(3))
    assert step([*full, replace(pending, is_deferred=True)], 9.0) is None
    assert step([full[0], replace(pending, is_deferred=True)], 9.0) is None
    assert step([full[0], pending], 9.0) == Load(version(3))


def test_a_new_version_of_what_is_served_makes_room() -> None:
    """And the old one, which answers until then, is the last to go."""
    old, other = ready(1, 1.0, wanted=False, answers=True, is_being_replaced=True), ready(2, 2.0)
    new = asked(3, is_deferred=False, requested_at=None, replaces=True)
    assert step([old, other, new], 9.0) == Evict(version(2))
    assert step([old, replace(other, in_use=True), new], 9.0) == Evict(version(1))


def test_what_is_not_wanted_any_more_makes_room_first() -> None:
    """Before anything that is."""
    left, wanted = ready(1, 3.0, wanted=False), ready(2, 1.0)
    assert step([left, wanted, asked(3)], 9.0) == Unload(version(1))


def test_a_busy_version_is_waited_for() -> None:
    """Nothing is evicted in vain, and what fits beside it does not wait."""
    busy, idle = ready(1, 1.0, in_use=True), ready(2, 2.0)
    large = asked(3, stages={3: 15})
    assert step([busy, idle, large], 9.0) == AwaitLeases(version(3))
    assert step([busy, idle, large, asked(4, requested_at=6.0)], 9.0) == Evict(version(2))


def test_what_cannot_fit_is_refused() -> None:
    """Alone, or beside what is pinned."""
    other, pinned = ready(1, 1.0), ready(1, 1.0, is_pinned=True)
    assert step([other, asked(2, stages={2: 25})], 9.0) == Refuse(version(2), 25, BUDGET)
    assert step([pinned, asked(2, stages={2: 15})], 9.0) == Refuse(version(2), 25, BUDGET)


def test_who_asked_first_is_served_first() -> None:
    """Then what is pinned, then what replaces another, then what is wanted."""
    each = replace(asked(1), requested_at=None, is_deferred=False)
    waiting = [
        each,
        replace(each, name=version(2), replaces=True),
        replace(each, name=version(3), is_pinned=True),
        replace(each, name=version(4), requested_at=6.0),
        replace(each, name=version(5), requested_at=5.0),
    ]
    order = []
    while waiting:
        action = next_action(waiting, 9.0)
        assert isinstance(action, Load)
        order.append(action.name.number)
        waiting = [each for each in waiting if each.name != action.name]
    assert order == [5, 4, 3, 2, 1]


def test_a_load_that_took_more_than_expected_is_made_up_for() -> None:
    """Another makes room afterwards."""
    assert step([ready(1, 1.0, stages={1: 15}), ready(2, 2.0)], 9.0) == Evict(version(1))
    assert step([ready(1, 1.0, stages={1: 30}, in_use=True)], 9.0) is None


def test_a_failure_is_remembered_until_it_may_be_tried_again() -> None:
    """Also of a version that was loaded only because it was asked for."""
    failed = VersionSnapshot(version(1), VersionState.FAILED, wanted=False, is_on_demand=True, retry_at=5.0)
    assert next_action([failed], 4.0) is None
    assert next_action([replace(failed, requested_at=4.0)], 4.0) is None
    assert next_action([failed], 5.0) == Unload(version(1))
    assert next_action([replace(failed, requested_at=5.0)], 5.0) == Load(version(1))


def test_what_was_asked_for_stays_though_nobody_wants_it() -> None:
    """Until it is deleted, or makes room."""
    kept = ready(1, 1.0, wanted=False, is_on_demand=True)
    assert step([kept], 9.0) is None
    assert step([replace(kept, is_on_demand=False)], 9.0) == Unload(version(1))
    assert step([kept, asked(2, stages={2: 15})], 9.0) == Evict(version(1))
