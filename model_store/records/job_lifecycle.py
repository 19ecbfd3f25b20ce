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
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DesiredAction(StrEnum):
    """What a person may ask of a job."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"


_ACTIVE_MOVES = frozenset({JobState.PAUSING, JobState.CANCELLING, JobState.FAILED, JobState.QUEUED})
_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PREPARING, JobState.PAUSED, JobState.CANCELLED, JobState.FAILED}),
    # Back to QUEUED: the runner died, and another may take the job.
    JobState.PREPARING: _ACTIVE_MOVES | {JobState.RUNNING},
    JobState.RUNNING: _ACTIVE_MOVES | {JobState.SUCCEEDED},
    # Published before it saw the wish: a finished version is kept rather than thrown away.
    JobState.PAUSING: frozenset({JobState.PAUSED, JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.FAILED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    # Back to QUEUED: somebody wants it tried again.
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}
_STOPS = {JobState.PAUSING: JobState.PAUSED, JobState.CANCELLING: JobState.CANCELLED}
_WISHES: dict[DesiredAction, dict[JobState, JobState]] = {
    DesiredAction.PAUSE: {
        JobState.QUEUED: JobState.PAUSED,
        JobState.PREPARING: JobState.PAUSING,
        JobState.RUNNING: JobState.PAUSING,
        JobState.PAUSING: JobState.PAUSING,
        JobState.PAUSED: JobState.PAUSED,
    },
    DesiredAction.RESUME: {JobState.PAUSED: JobState.QUEUED, JobState.QUEUED: JobState.QUEUED},
    DesiredAction.CANCEL: {
        JobState.QUEUED: JobState.CANCELLED,
        JobState.PREPARING: JobState.CANCELLING,
        JobState.RUNNING: JobState.CANCELLING,
        JobState.PAUSING: JobState.CANCELLING,
        JobState.PAUSED: JobState.CANCELLED,
        JobState.CANCELLING: JobState.CANCELLING,
    },
    DesiredAction.RETRY: {JobState.FAILED: JobState.QUEUED, JobState.CANCELLED: JobState.QUEUED},
}

ACTIVE = frozenset({JobState.PREPARING, JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING})
"""A runner has the job."""
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
"""Nothing moves the job any more but a wish to try it again."""
STOPPING = frozenset(_STOPS)
"""A runner has the job, and is to give it up."""


def may_move(current: JobState, wanted: JobState) -> bool:
    """Say whether a job in `current` may move to `wanted`."""
    return wanted in _MOVES[current]


def after_action(current: JobState, wish: DesiredAction) -> JobState | None:
    """Return the state that a wish leads to, the same where it holds already; None where it cannot be met."""
    return _WISHES[wish].get(current)


def after_stop(current: JobState) -> JobState:
    """Return where an active job goes whose runner gives it up in good order."""
    return _STOPS.get(current, JobState.QUEUED)


def after_lost_runner(current: JobState, num_failures: int, max_failures: int) -> JobState:
    """Return where an active job goes whose runner died: again to the queue while failures are left."""
    if current in _STOPS:
        return _STOPS[current]
    return JobState.QUEUED if num_failures < max_failures else JobState.FAILED
