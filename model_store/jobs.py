"""The durable job queue: enqueue, claim with a lease, heartbeat, events, finish.

A runner holds a job by a claim: its own name and the number of the attempt. Every write on behalf of a job checks the
claim in the same transaction, so a runner that was taken for dead can change nothing any more.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session

from model_store.changes import append_change, take_turn
from model_store.database import Database
from model_store.errors import AlreadyExists, IllegalState, JobNotFound, LeaseLost
from model_store.lifecycle import ACTIVE, ENDED, JobState, after_cancel, after_lost_runner, may_move
from model_store.lookups import living_version_row
from model_store.names import job_name
from model_store.paging import Page, PageRequest, cut, decode_token
from model_store.records import JobEvent, JobSpec, TrainingJob
from model_store.tables import JobEventRow, JobRow

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Claim:
    """The right of one runner to work on one attempt of a job."""

    job_id: str
    owner: str
    attempt: int


class JobStore:
    """Training jobs and their events; safe to share between threads, runners and hosts."""

    def __init__(self, database: Database, *, lease_seconds: float = 15.0) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_seconds)

    def enqueue(self, spec: JobSpec, request_id: str | None = None) -> TrainingJob:
        """Queue a job; a repeat of `request_id` with the same spec returns the first one.

        Raises VersionNotFound, or IllegalState, where the base is not there any more; from now on it cannot be deleted.
        """
        with self._database.write() as session:
            if request_id is not None:
                query = select(JobRow).where(JobRow.request_id == request_id)
                if (earlier := session.scalar(query)) is not None:
                    return _same(earlier.record(), spec, request_id)
            take_turn(session)
            living_version_row(session, spec.base)
            row = JobRow(
                id=uuid.uuid4().hex,
                request_id=request_id,
                base_model_id=spec.base.model_id,
                base_number=spec.base.number,
                state=JobState.QUEUED,
                created_at=datetime.now(UTC),
                **{key: value for key, value in asdict(spec).items() if key != "base"},
            )
            session.add(row)
            session.flush()
            _append_state(session, row)
            return row.record()

    def get(self, job_id: str) -> TrainingJob:
        """Return one job; raise JobNotFound."""
        with self._database.read() as session:
            return _row(session, job_id).record()

    def list(self, request: PageRequest) -> Page[TrainingJob]:
        """Return a page of jobs, newest first."""
        before = decode_token("jobs", request.token, int)
        query = select(JobRow).order_by(JobRow.sequence.desc()).limit(request.limit + 1)
        if before is not None:
            query = query.where(JobRow.sequence < before)
        with self._database.read() as session:
            rows = list(session.scalars(query))
            return cut("jobs", [row.record() for row in rows], [row.sequence for row in rows], request.limit)

    def events_after(self, job_id: str, sequence: int, limit: int = 1000) -> tuple[JobEvent, ...]:
        """Return a job's events after this one, oldest first."""
        query = (
            select(JobEventRow)
            .where(JobEventRow.job_id == job_id, JobEventRow.sequence > sequence)
            .order_by(JobEventRow.sequence)
            .limit(limit)
        )
        with self._database.read() as session:
            return tuple(row.record() for row in session.scalars(query))

    def cancel(self, job_id: str) -> TrainingJob:
        """Ask a job to stop; raise IllegalState where it has ended. A second request changes nothing."""
        with self._database.write() as session:
            row = _row(session, job_id, lock=True)
            wanted = after_cancel(JobState(row.state))
            if wanted is None:
                raise IllegalState(f"{job_name(job_id)} has ended already: it is {row.state}")
            if wanted != row.state:
                _move(session, row, wanted)
            return row.record()

    def claim(self, owner: str) -> Claim | None:
        """Take the oldest queued job for this runner, or return None.

        Jobs whose runner let its lease run out go back to the queue first, or end where no attempt is left.
        """
        with self._database.write() as session:
            self._release_lost(session)
            row = session.scalar(
                select(JobRow)
                .where(JobRow.state == JobState.QUEUED)
                .order_by(JobRow.sequence)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if row is None:
                return None
            row.num_attempts += 1
            row.lease_owner, row.lease_expires_at = owner, datetime.now(UTC) + self._lease
            row.started_at = row.started_at or datetime.now(UTC)
            _move(session, row, JobState.PREPARING)
            return Claim(row.id, owner, row.num_attempts)

    def heartbeat(self, claim: Claim) -> JobState:
        """Extend the lease and return the job's state, so that a runner sees a cancel; raise LeaseLost."""
        with self._database.write() as session:
            row = _claimed(session, claim)
            row.lease_expires_at = datetime.now(UTC) + self._lease
            return JobState(row.state)

    def advance(self, claim: Claim, state: JobState, *, error: str = "") -> TrainingJob:
        """Move a claimed job to another state; raise IllegalState where that move is not legal, or LeaseLost."""
        with self._database.write() as session:
            row = _claimed(session, claim)
            row.error = error
            _move(session, row, state)
            return row.record()

    def append(self, claim: Claim, kind: str, payload: Mapping[str, Any]) -> None:
        """Add an event (`progress` or `message`) to a claimed job; raise LeaseLost."""
        with self._database.write() as session:
            _append(session, _claimed(session, claim), kind, payload)

    def release(self, claim: Claim, reason: str) -> TrainingJob:
        """Give a claimed job up because its worker died: back to the queue, or FAILED where no attempt is left."""
        with self._database.write() as session:
            row = _claimed(session, claim)
            _lose(session, row, reason)
            return row.record()

    def hand_back(self, claim: Claim) -> TrainingJob:
        """Give a claimed job up because its runner stops in good order: back to the queue, and no attempt is lost."""
        with self._database.write() as session:
            row = _claimed(session, claim)
            row.num_attempts -= 1
            _append(session, row, "message", {"text": "its runner was stopped; the next one starts it again"})
            _move(session, row, JobState.CANCELLED if row.state == JobState.CANCELLING else JobState.QUEUED)
            return row.record()

    def _release_lost(self, session: Session) -> None:
        lost = and_(JobRow.state.in_(ACTIVE), JobRow.lease_expires_at < datetime.now(UTC))
        for row in session.scalars(select(JobRow).where(lost).with_for_update(skip_locked=True)):
            _lose(session, row, f"its runner {row.lease_owner} stopped answering")


def hold(session: Session, claim: Claim) -> None:
    """Lock a claimed job's row for the caller's transaction; raise LeaseLost."""
    _claimed(session, claim)


def finish_in(session: Session, claim: Claim, version_number: int) -> None:
    """End a claimed job as SUCCEEDED in the transaction that publishes its version; raise LeaseLost."""
    row = _claimed(session, claim)
    row.version_number = version_number
    _move(session, row, JobState.SUCCEEDED)


def _same(job: TrainingJob, spec: JobSpec, request_id: str) -> TrainingJob:
    if job.spec != spec:
        raise AlreadyExists(f"request id {request_id!r} was used for {job.name}, which differs: take a new one")
    return job


def _row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    query: Select[JobRow] = select(JobRow).where(JobRow.id == job_id)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise JobNotFound(f"{job_name(job_id)} does not exist; `maas jobs` lists those that do")
    return row


def _claimed(session: Session, claim: Claim) -> JobRow:
    row = _row(session, claim.job_id, lock=True)
    if (row.lease_owner, row.num_attempts) != (claim.owner, claim.attempt) or row.state not in ACTIVE:
        raise LeaseLost(f"{job_name(claim.job_id)} is no longer held by {claim.owner} (attempt {claim.attempt})")
    return row


def _lose(session: Session, row: JobRow, reason: str) -> None:
    state = after_lost_runner(JobState(row.state), row.num_attempts, MAX_ATTEMPTS)
    _append(session, row, "message", {"text": f"attempt {row.num_attempts} was lost: {reason}"})
    if state is JobState.FAILED:
        row.error = f"gave up after {row.num_attempts} attempts: {reason}"
    _move(session, row, state)


def _move(session: Session, row: JobRow, state: JobState) -> None:
    if not may_move(JobState(row.state), state):
        raise IllegalState(f"{job_name(row.id)} is {row.state} and cannot become {state}")
    row.state = state
    if state not in ACTIVE:
        row.lease_owner = row.lease_expires_at = None
    if state in ENDED:
        row.ended_at = datetime.now(UTC)
    _append_state(session, row)


def _append_state(session: Session, row: JobRow) -> None:
    _append(session, row, "state", {"state": str(row.state)})
    append_change(session, f"job_{row.state}", job_name(row.id))


def _append(session: Session, row: JobRow, kind: str, payload: Mapping[str, Any]) -> None:
    row.last_sequence = (row.last_sequence or 0) + 1
    event = JobEventRow(
        job_id=row.id,
        sequence=row.last_sequence,
        kind=kind,
        payload=dict(payload),
        created_at=datetime.now(UTC),
    )
    session.add(event)
