"""The job's lifecycle: a pure table, held to its promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.records.job_lifecycle import (
    ACTIVE,
    ENDED,
    STOPPING,
    DesiredAction,
    JobState,
    after_action,
    after_lost_runner,
    after_stop,
    may_move,
)

STATES = st.sampled_from(JobState)


@given(current=st.sampled_from(sorted(ENDED)), wanted=STATES)
def test_an_ended_job_moves_only_to_be_tried_again(current: JobState, wanted: JobState) -> None:
    """And one that has succeeded never."""
    assert may_move(current, wanted) == (wanted is JobState.QUEUED and current is not JobState.SUCCEEDED)
    assert after_action(current, DesiredAction.CANCEL) is None
    assert after_action(current, DesiredAction.PAUSE) is None


@given(current=STATES, action=st.sampled_from(DesiredAction))
def test_an_action_is_a_legal_move(current: JobState, action: DesiredAction) -> None:
    """Where a action leads, the table allows it, or the job is there already; from there it leads nowhere else."""
    wanted = after_action(current, action)
    assert wanted is None or wanted is current or may_move(current, wanted)
    assert wanted is None or after_action(wanted, action) in {None, wanted}


@given(current=st.sampled_from(sorted(ACTIVE)))
def test_a_job_that_is_given_up_is_nobodys(current: JobState) -> None:
    """It moves legally, to the queue where nothing else was wished."""
    state = after_stop(current)
    assert may_move(current, state)
    assert state not in ACTIVE
    assert (state is JobState.QUEUED) == (current not in STOPPING)


@given(current=st.sampled_from(sorted(ACTIVE)), num_failures=st.integers(1, 9), max_failures=st.integers(1, 9))
def test_a_lost_runner_leads_to_a_legal_state(current: JobState, num_failures: int, max_failures: int) -> None:
    """A job whose runner died never stays active, and never runs more often than allowed."""
    state = after_lost_runner(current, num_failures, max_failures)
    assert may_move(current, state)
    assert state not in ACTIVE
    assert state is not JobState.QUEUED or num_failures < max_failures


@pytest.mark.parametrize("state", sorted(set(JobState) - ENDED))
def test_every_other_state_leads_to_an_end(state: JobState) -> None:
    """No job can be stuck: from each state some path reaches an end."""
    reached, edge = {state}, [state]
    while edge:
        current = edge.pop()
        found = {wanted for wanted in JobState if may_move(current, wanted)} - reached
        reached |= found
        edge.extend(found)
    assert reached & ENDED
