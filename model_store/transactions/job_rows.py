"""Changes of a job's row inside a transaction: its claim, its state, and its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from model_store.errors import IllegalState, JobNotFound, LeaseLost
from model_store.names import job_name
from model_store.records.changes import ChangeKind
from model_store.records.job_lifecycle import ACTIVE, ENDED, JobState, after_lost_runner, may_move
from model_store.records.jobs import NOT_VALIDATED, ErrorCode, JobError, Validated
from model_store.tables import JobCheckpointRow, JobEventRow, JobRow
from model_store.transactions.changes import append_change

_FIRST_BACKOFF, _MAX_BACKOFF = timedelta(seconds=1), timedelta(minutes=5)


@dataclass(frozen=True)
class Claim:
    """The right of one runner to work on one attempt of a job."""

    job_id: str
    owner: str
    attempt: int


def job_row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """Return a job's row; raise JobNotFound."""
    query: Select[JobRow] = select(JobRow).where(JobRow.id == job_id)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise JobNotFound(f"{job_name(job_id)} does not exist; `maas jobs` lists those that do")
    return row


def claimed_row(session: Session, claim: Claim) -> JobRow:
    """Lock a claimed job's row for the caller's transaction; raise LeaseLost."""
    row = job_row(session, claim.job_id, lock=True)
    if (row.lease_owner, row.num_attempts) != (claim.owner, claim.attempt) or row.state not in ACTIVE:
        text = f"{job_name(claim.job_id)} is no longer held by the runner of attempt {claim.attempt}"
        raise LeaseLost(text, detail=claim.owner)
    return row


def finish(session: Session, claim: Claim, version_number: int, validated: Validated = NOT_VALIDATED) -> JobRow:
    """End a claimed job as SUCCEEDED in the transaction that publishes its version; raise LeaseLost."""
    row = claimed_row(session, claim)
    row.version_number = version_number
    row.validation_metric, row.validation_loss = validated.metric, validated.loss
    move(session, row, JobState.SUCCEEDED)
    return row


def move(session: Session, row: JobRow, state: JobState) -> None:
    """Move a job to another state; raise IllegalState where that is no legal move."""
    if not may_move(JobState(row.state), state):
        raise IllegalState(f"{job_name(row.id)} is {row.state} and cannot become {state}")
    row.state = state
    row.revision += 1
    if state not in ACTIVE:
        row.lease_owner = row.lease_expires_at = None
    row.ended_at = datetime.now(UTC) if state in ENDED else None
    if state is JobState.SUCCEEDED:
        row.checkpoints.clear()
    append_state(session, row)


def lose(session: Session, row: JobRow, reason: str) -> None:
    """Take an active job from a dead runner; it waits before its next attempt, longer after each loss."""
    row.num_failures += 1
    append(session, row, "message", {"text": f"attempt {row.num_attempts} was lost: {reason}"})
    state = after_lost_runner(JobState(row.state), row.num_failures, row.max_failures)
    if state is JobState.FAILED:
        text = f"gave up after {row.num_failures} attempts in a row without progress: {reason}"
        row.fail(JobError(ErrorCode.ABORTED, text))
    if state is JobState.QUEUED:
        row.next_attempt_at = datetime.now(UTC) + backoff(row.num_failures)
    move(session, row, state)


def backoff(num_failures: int) -> timedelta:
    """Return the wait after a number of failures in a row: 1 second, doubled each time, at most 5 minutes."""
    return min(_FIRST_BACKOFF * float(2 ** min(num_failures - 1, 30)), _MAX_BACKOFF)


def drop_checkpoints(session: Session, *, ended_before: datetime) -> None:
    """Drop the checkpoints of jobs that ended before this moment."""
    has_some = JobRow.id.in_(select(JobCheckpointRow.job_id))
    # Lock the jobs' rows first, as every transaction does; skip a locked job, which may be retried now.
    ended = ended_jobs(ended_before).where(has_some).order_by(JobRow.id).with_for_update(skip_locked=True)
    jobs = list(session.scalars(ended))
    session.execute(delete(JobCheckpointRow).where(JobCheckpointRow.job_id.in_(jobs)))


def ended_jobs(before: datetime) -> Select[str]:
    """Select the ids of the jobs that ended before this moment."""
    return select(JobRow.id).where(JobRow.ended_at < before)


def append_state(session: Session, row: JobRow) -> None:
    """Append the job's state to its events and to the change feed."""
    append(session, row, "state", {"state": str(row.state)})
    append_change(session, ChangeKind(f"job_{row.state}"), job_name(row.id))


def append(session: Session, row: JobRow, kind: str, payload: Mapping[str, Any]) -> None:
    """Append an event under the job's next sequence number."""
    row.last_sequence = (row.last_sequence or 0) + 1
    event = JobEventRow(
        job_id=row.id,
        sequence=row.last_sequence,
        kind=kind,
        payload=dict(payload),
        created_at=datetime.now(UTC),
    )
    session.add(event)
