"""The legal transitions of a training job, as one pure table.

The job store checks each transition against it, inside the transaction that makes the change.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The lifecycle of a training job."""

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
    """The actions that a caller may request of a job."""

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
    # To SUCCEEDED: the worker published before it saw the request, and a finished version is kept.
    JobState.PAUSING: frozenset({JobState.PAUSED, JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.FAILED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    # Back to QUEUED: a retry.
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}
_STOPS = {JobState.PAUSING: JobState.PAUSED, JobState.CANCELLING: JobState.CANCELLED}
_AFTER_ACTION: dict[DesiredAction, dict[JobState, JobState]] = {
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
"""The job has ended; only a retry moves it again."""
STOPPING = frozenset(_STOPS)
"""A runner has the job, and has been asked to stop."""


def may_move(current: JobState, wanted: JobState) -> bool:
    """Say whether a job in `current` may move to `wanted`."""
    return wanted in _MOVES[current]


def after_action(current: JobState, action: DesiredAction) -> JobState | None:
    """Return the state after an action, which may be the current one; None where the action is illegal."""
    return _AFTER_ACTION[action].get(current)


def after_stop(current: JobState) -> JobState:
    """Return the state of an active job after its runner has stopped it as asked."""
    return _STOPS.get(current, JobState.QUEUED)


def after_lost_runner(current: JobState, num_failures: int, max_failures: int) -> JobState:
    """Return the state of an active job whose runner died: QUEUED while failures are left."""
    if current in _STOPS:
        return _STOPS[current]
    return JobState.QUEUED if num_failures < max_failures else JobState.FAILED
