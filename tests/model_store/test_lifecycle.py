"""The job's lifecycle: a pure table, held to its promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.lifecycle import ACTIVE, ENDED, JobState, after_cancel, after_lost_runner, may_move

STATES = st.sampled_from(JobState)


@given(current=st.sampled_from(sorted(ENDED)), wanted=STATES)
def test_an_ended_job_never_moves(current: JobState, wanted: JobState) -> None:
    """SUCCEEDED, FAILED and CANCELLED are final."""
    assert not may_move(current, wanted)
    assert after_cancel(current) is None


@given(current=STATES)
def test_a_cancel_is_a_legal_move(current: JobState) -> None:
    """Where a cancel leads, the table allows it, or the job is there already."""
    wanted = after_cancel(current)
    assert wanted is None or wanted is current or may_move(current, wanted)


@given(current=st.sampled_from(sorted(ACTIVE)), num_attempts=st.integers(1, 9), max_attempts=st.integers(1, 9))
def test_a_lost_runner_leads_to_a_legal_state(current: JobState, num_attempts: int, max_attempts: int) -> None:
    """A job whose runner died never stays active, and never runs more often than allowed."""
    state = after_lost_runner(current, num_attempts, max_attempts)
    assert may_move(current, state)
    assert state not in ACTIVE
    assert state is not JobState.QUEUED or num_attempts < max_attempts


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
