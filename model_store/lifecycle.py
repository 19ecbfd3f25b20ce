"""The legal moves of a training job, as one pure table.

It lives beside the job store, which holds every move to it inside the transaction that makes the move.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a training job stands."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PREPARING, JobState.CANCELLED, JobState.FAILED}),
    # Back to QUEUED: the runner died, and another may take the job.
    JobState.PREPARING: frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.FAILED, JobState.QUEUED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.CANCELLING, JobState.FAILED, JobState.QUEUED}),
    # Published before it saw the cancel: a finished version is kept rather than thrown away.
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

ACTIVE = frozenset({JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING})
ENDED = frozenset(state for state, moves in _MOVES.items() if not moves)


def may_move(current: JobState, wanted: JobState) -> bool:
    """Say whether a job in `current` may move to `wanted`."""
    return wanted in _MOVES[current]


def after_cancel(current: JobState) -> JobState | None:
    """Return the state that a cancel request leads to, or None where the job has ended."""
    if current in ENDED:
        return None
    return JobState.CANCELLED if current is JobState.QUEUED else JobState.CANCELLING


def after_lost_runner(current: JobState, num_attempts: int, max_attempts: int) -> JobState:
    """Return where an active job goes whose runner died: again to the queue while attempts are left."""
    if current is JobState.CANCELLING:
        return JobState.CANCELLED
    return JobState.QUEUED if num_attempts < max_attempts else JobState.FAILED
