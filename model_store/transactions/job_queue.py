"""Selects due, lost and overdue jobs, and ends or requeues the lost and overdue ones."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from model_store.records.job_lifecycle import ACTIVE, JobState
from model_store.records.jobs import ErrorCode, JobError
from model_store.tables import JobRow
from model_store.transactions.job_rows import lose, move


def is_due() -> ColumnElement[bool]:
    """Select the jobs that a runner may take now."""
    return and_(
        JobRow.state == JobState.QUEUED,
        or_(JobRow.next_attempt_at.is_(None), JobRow.next_attempt_at <= datetime.now(UTC)),
    )


def is_lost() -> ColumnElement[bool]:
    """Select the jobs whose lease has expired."""
    return and_(JobRow.state.in_(ACTIVE), JobRow.lease_expires_at < datetime.now(UTC))


def is_overdue() -> ColumnElement[bool]:
    """Select the waiting jobs whose deadline has passed."""
    return and_(JobRow.state.in_({JobState.QUEUED, JobState.PAUSED}), JobRow.deadline < datetime.now(UTC))


def wants_attention() -> ColumnElement[bool]:
    """Select the jobs that are due, lost or overdue."""
    return or_(is_due(), is_lost(), is_overdue())


def release_lost(session: Session) -> None:
    """Requeue or end the jobs whose leases have expired."""
    for row in session.scalars(select(JobRow).where(is_lost()).with_for_update(skip_locked=True)):
        lose(session, row, "its runner stopped answering")


def end_overdue(session: Session) -> None:
    """End the waiting jobs whose deadline has passed."""
    for row in session.scalars(select(JobRow).where(is_overdue()).with_for_update(skip_locked=True)):
        overdue(session, row)


def overdue(session: Session, row: JobRow) -> None:
    """End a job whose deadline has passed."""
    text = f"it had not ended at its deadline: `maas jobs retry {row.id}` goes on without one"
    row.fail(JobError(ErrorCode.DEADLINE_EXCEEDED, text))
    move(session, row, JobState.FAILED)
