"""Selects due, lost and overdue jobs, and ends or requeues the lost and overdue ones."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from model_store.records.job_lifecycle import ACTIVE, ENDED, DesiredAction, JobState, after_action
from model_store.records.jobs import SEARCH_ENDED, ErrorCode, JobError, JobSpec
from model_store.tables import JobRow
from model_store.transactions.job_rows import append, lose, move
from model_store.transactions.resource_rows import living_dataset_row, living_version_row

_PAUSED = frozenset({JobState.PAUSING, JobState.PAUSED})
_OVER = ENDED | {JobState.CANCELLING}


def is_due(*, searches: bool) -> ColumnElement[bool]:
    """Select the jobs that a runner may take now: either searches, or all others.

    A trial waits while its search is paused.
    """
    return and_(
        JobRow.state == JobState.QUEUED,
        or_(JobRow.next_attempt_at.is_(None), JobRow.next_attempt_at <= datetime.now(UTC)),
        JobRow.search.is_not(None) if searches else JobRow.search.is_(None),
        or_(JobRow.search_job_id.is_(None), ~_search_is(_PAUSED)),
    )


def is_orphan() -> ColumnElement[bool]:
    """Select the waiting trials whose search has ended."""
    waits = JobRow.state.in_({JobState.QUEUED, JobState.PAUSED})
    return and_(waits, JobRow.search_job_id.is_not(None), _search_is(_OVER))


def _search_is(states: frozenset[JobState]) -> ColumnElement[bool]:
    search = aliased(JobRow)
    return exists().where(search.id == JobRow.search_job_id, search.state.in_(states))


def is_lost() -> ColumnElement[bool]:
    """Select the jobs whose lease has expired."""
    return and_(JobRow.state.in_(ACTIVE), JobRow.lease_expires_at < datetime.now(UTC))


def is_overdue() -> ColumnElement[bool]:
    """Select the waiting jobs whose deadline has passed."""
    return and_(JobRow.state.in_({JobState.QUEUED, JobState.PAUSED}), JobRow.deadline < datetime.now(UTC))


def wants_attention(*, searches: bool) -> ColumnElement[bool]:
    """Select the jobs that are due, lost or overdue, and trials that nobody waits for."""
    return or_(is_due(searches=searches), is_lost(), is_overdue(), is_orphan())


def end_orphans(session: Session) -> None:
    """Cancel the waiting trials whose search has ended."""
    for row in session.scalars(select(JobRow).where(is_orphan()).with_for_update(skip_locked=True)):
        row.trial_stopped = SEARCH_ENDED
        append(session, row, "message", {"text": SEARCH_ENDED})
        move(session, row, JobState.CANCELLED)


def follow_search(session: Session, row: JobRow) -> None:
    """Cancel or pause an active trial as its search is; a trial never locks the row of its search."""
    state = session.scalar(select(JobRow.state).where(JobRow.id == row.search_job_id))
    action = DesiredAction.PAUSE if state in _PAUSED else DesiredAction.CANCEL if state in _OVER else None
    wanted = after_action(JobState(row.state), action) if action is not None else None
    if wanted is not None and wanted != row.state:
        row.trial_stopped = SEARCH_ENDED if action is DesiredAction.CANCEL else row.trial_stopped
        append(session, row, "message", {"text": f"its search is {state}"})
        move(session, row, wanted)


def insert_job(session: Session, spec: JobSpec, principal: str, request_id: str | None = None) -> JobRow:
    """Insert a queued job, after its base and its dataset were found to exist.

    Raises VersionNotFound, DatasetNotFound or IllegalState; the caller holds the writer lock.
    """
    if not spec.chooses_base:
        living_version_row(session, spec.base)
    living_dataset_row(session, spec.dataset_id)
    row = JobRow(
        id=uuid.uuid4().hex,
        request_id=request_id,
        principal=principal,
        base_model_id=spec.base.model_id,
        base_number=spec.base.number,
        state=JobState.QUEUED,
        created_at=datetime.now(UTC),
        **{key: value for key, value in asdict(spec).items() if key not in {"base", "urgency", "promote"}},
        promote=spec.promote.to_json() if spec.promote is not None else None,
        **asdict(spec.urgency),
    )
    session.add(row)
    return row


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
