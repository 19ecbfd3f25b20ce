"""Of the few versions that are due the policy chooses as it would of all."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from inference_service.lifecycle.agenda import Agenda
from inference_service.lifecycle.policy import Action, Memory, VersionSnapshot, VersionState, next_action
from model_store.names import VersionName
from tests.inference_service.lifecycle.snapshots import BUDGET, crowded, held

names = st.builds(VersionName, st.sampled_from(["birds", "flowers"]), st.integers(1, 12))
changes = st.one_of(
    st.builds(replace, crowded, name=names, retry_at=st.floats(0, 20)),
    names,  # is forgotten
    st.floats(0, 3),  # seconds that pass
)


def chosen(
    snapshots: list[VersionSnapshot], everybody: list[VersionSnapshot], now: float, budget_bytes: int
) -> Action | None:
    """Return the next step where these are looked at."""
    in_memory = {name: size for each in held(everybody) for name, size in (each.stages or {}).items()}
    return next_action(snapshots, now, Memory(budget_bytes, in_memory, lambda: held(everybody)))


@given(st.lists(changes, max_size=80), st.sampled_from([BUDGET, 10**6]))
def test_the_step_is_that_of_all(steps: list[VersionSnapshot | VersionName | float], budget_bytes: int) -> None:
    """After every change, and as time passes; only few are looked at, however many wait."""
    agenda, everybody, now = Agenda(), dict[VersionName, VersionSnapshot](), 0.0
    for each in steps:
        if isinstance(each, VersionSnapshot):
            everybody[each.name] = each
            agenda.note(each)
        elif isinstance(each, VersionName):
            everybody.pop(each, None)
            agenda.forget(each)
        else:
            now += each
        due, snapshots = agenda.due(now), list(everybody.values())
        assert len(due) <= 11
        assert chosen(due, snapshots, now, budget_bytes) == chosen(snapshots, snapshots, now, budget_bytes)
        untried = {VersionState.PENDING, VersionState.LOADING}
        assert agenda.has_untried == any(each.state in untried for each in snapshots)


def test_no_step_looks_at_thousands() -> None:
    """Of ten thousand that wait, fail and are tried again, each step is chosen of a handful, in the policy's order."""
    agenda, order = Agenda(), []
    for number in range(1, 10_001):
        agenda.note(VersionSnapshot(VersionName("flowers", number), VersionState.PENDING, wanted=True))
    for _ in range(10_000):
        due = agenda.due(0.0)
        assert len(due) <= 8
        step = next_action(due, 0.0)
        assert step is not None
        order.append(step.name.number)
        agenda.note(VersionSnapshot(step.name, VersionState.FAILED, wanted=True, retry_at=float(step.name.number)))
    assert order == list(range(10_000, 0, -1))
    assert not agenda.has_untried
    assert agenda.due(0.5) == []
    assert [each.name.number for each in agenda.due(3.0)] == [1, 2, 3]
