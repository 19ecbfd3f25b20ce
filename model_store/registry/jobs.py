"""The durable job queue: enqueue, claim with a lease, heartbeat, checkpoints, events, finish.

A runner holds a job by a claim: its own name and the number of the attempt. Every write on behalf of a job checks the
claim in the same transaction, so a runner that was taken for dead can change nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.database.paging import Page, cut
from model_store.errors import AlreadyExists, Expired, IllegalState, JobStopping
from model_store.names import VersionName, job_name
from model_store.records.job_lifecycle import (
    ACTIVE,
    ENDED,
    STOPPING,
    DesiredAction,
    JobState,
    after_action,
    after_stop,
    may_move,
)
from model_store.records.jobs import NO_BASE, JobCheckpoint, JobError, JobEvent, JobSpec, TrainingJob
from model_store.tables import JobCheckpointRow, JobEventRow, JobRow
from model_store.transactions.changes import take_writer_lock
from model_store.transactions.job_queue import (
    end_orphans,
    end_overdue,
    follow_search,
    insert_job,
    is_due,
    overdue,
    release_lost,
    wants_attention,
)
from model_store.transactions.job_rows import Claim, append, append_state, claimed_row, job_row, lose, move
from model_store.transactions.listings import ListRequest, jobs_listing
from model_store.transactions.resource_rows import check_etag, living_dataset_row, living_version_row
from model_store.transactions.tombstones import check_kept, look_at

__all__ = ["Claim", "JobStore"]

NUM_CHECKPOINTS = 2
"""The checkpoints that a job keeps: if the newest is damaged, the one before it costs an interval more."""


class JobStore:
    """Training jobs and their events; safe to share between threads, runners and hosts."""

    def __init__(self, database: Database, *, lease_seconds: float = 15.0) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_seconds)

    def enqueue(self, spec: JobSpec, request_id: str | None = None, *, principal: str = "") -> TrainingJob:
        """Queue a job; a repeat of `request_id` with the same spec returns the first one.

        Raises VersionNotFound, DatasetNotFound, or IllegalState, where base or dataset are not there any more; from now
        on they cannot be deleted.
        """
        with self._database.write(principal) as session:
            take_writer_lock(session)  # of two calls with one request id, the second then finds the first one's job
            if request_id is not None:
                query = select(JobRow).where(JobRow.request_id == request_id)
                if (earlier := session.scalar(query)) is not None:
                    return _same(earlier.record(), spec, request_id)
            row = insert_job(session, spec, principal, request_id)
            session.flush()
            append_state(session, row)
            return row.record()

    def get(self, job_id: str) -> TrainingJob:
        """Return one job; raise JobNotFound."""
        with self._database.read() as session:
            return job_row(session, job_id).record()

    def list(self, request: ListRequest) -> Page[TrainingJob]:
        """Return a page of jobs, newest first where nothing else is asked; raise InvalidInput."""
        listing = jobs_listing(request)
        with self._database.read() as session:
            rows = list(session.scalars(listing.query))
            jobs = [row.record() for row in rows]
        return cut(listing.name, jobs, [listing.keys(row) for row in rows], request.page.limit)

    def events_after(self, job_id: str, sequence: int, limit: int = 1000) -> tuple[JobEvent, ...]:
        """Return a job's events after this one, oldest first; after 0, those that are still kept.

        Raises Expired where events after another one are not kept any more.
        """
        query = (
            select(JobEventRow)
            .where(JobEventRow.job_id == job_id, JobEventRow.sequence > sequence)
            .order_by(JobEventRow.sequence)
            .limit(limit)
        )
        with self._database.read() as session:
            events = tuple(row.record() for row in session.scalars(query))
        if sequence and events and events[0].sequence > sequence + 1:
            last_gone = events[0].sequence - 1
            raise Expired(
                f"events of {job_name(job_id)} up to {last_gone} are not kept any more: watch after {last_gone}"
            )
        return events

    def newest_events(self, job_ids: Collection[str]) -> Mapping[str, int]:
        """Return the number of the newest event of each of these jobs that exists."""
        query = select(JobRow.id, JobRow.last_sequence).where(JobRow.id.in_(job_ids))
        with self._database.read() as session:
            return {row.id: row.last_sequence for row in session.execute(query)}

    def request_action(
        self, job_id: str, action: DesiredAction, *, etag: str | None = None, principal: str = ""
    ) -> TrainingJob:
        """Pause, resume, cancel or retry a job; a repeat changes nothing.

        A running job is stopped by its runner soon after. A retried job continues from its newest checkpoint. Raises
        IllegalState where the state does not allow the action, and Conflict where the etag is another.
        """
        with self._database.write(principal) as session:
            row = job_row(session, job_id, lock=True)
            check_etag(row, job_name(job_id), etag)
            wanted = after_action(JobState(row.state), action)
            if wanted is None:
                raise IllegalState(f"{job_name(job_id)}{_why_not(JobState(row.state), action)}")
            if wanted != row.state:
                if action is DesiredAction.RETRY:
                    _begin_again(session, row)
                move(session, row, wanted)
            return row.record()

    def claim(self, owner: str, *, searches: bool = False) -> Claim | None:
        """Take a queued job for this runner, or return None: of the highest priority, and of those the oldest.

        Either `searches` alone are taken, or all jobs but these: a search that took the place of its own trials would
        wait for ever. Jobs whose runner let its lease run out go back to the queue first, or end where it was one time
        too many; jobs whose deadline is over end.
        """
        with self._database.read() as session:
            if session.scalar(select(JobRow.sequence).where(wants_attention(searches=searches)).limit(1)) is None:
                return None
        with self._database.write() as session:
            end_overdue(session)
            end_orphans(session)
            release_lost(session)
            row = session.scalar(
                select(JobRow)
                .where(is_due(searches=searches))
                .order_by(JobRow.priority.desc(), JobRow.sequence)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if row is None:
                return None
            row.num_attempts += 1
            row.next_attempt_at = None
            row.lease_owner, row.lease_expires_at = owner, datetime.now(UTC) + self._lease
            row.started_at = row.started_at or datetime.now(UTC)
            move(session, row, JobState.PREPARING)
            return Claim(row.id, owner, row.num_attempts)

    def heartbeat(self, claim: Claim) -> JobState:
        """Extend the lease and return the job's state, which tells of a pause or a cancel; raise LeaseLost.

        A job whose deadline is over ends here; a trial is paused or cancelled with its search.
        """
        with self._database.write() as session:
            row = claimed_row(session, claim)
            row.lease_expires_at = datetime.now(UTC) + self._lease
            if row.deadline is not None and row.deadline < datetime.now(UTC):
                overdue(session, row)
            elif row.search_job_id is not None:
                follow_search(session, row)
            return JobState(row.state)

    def advance(self, claim: Claim, state: JobState, *, error: JobError | None = None) -> TrainingJob:
        """Move a claimed job to another state; raise IllegalState where that move is not legal, or LeaseLost.

        Raises JobStopping where a pause or a cancel came first: the worker ends, and its runner hands the job back.
        """
        with self._database.write() as session:
            row = claimed_row(session, claim)
            if row.state in STOPPING and not may_move(JobState(row.state), state):
                raise JobStopping(f"{job_name(row.id)} is {row.state}: its runner gives it up")
            row.fail(error)
            move(session, row, state)
            return row.record()

    def choose_base(
        self, claim: Claim, base: VersionName, recipe: Mapping[str, Any], recommendation: Mapping[str, Any]
    ) -> TrainingJob:
        """Record the base and the recipe that a claimed job has chosen, once; from now on the base cannot be deleted.

        Raises VersionNotFound or IllegalState where the base is not there any more, or LeaseLost.
        """
        with self._database.write() as session:
            row = claimed_row(session, claim)
            take_writer_lock(session)
            living_version_row(session, base)
            row.base_model_id, row.base_number = base.model_id, base.number
            row.recipe, row.recommendation = dict(recipe), dict(recommendation)
            return row.record()

    def append(self, claim: Claim, kind: str, payload: Mapping[str, Any]) -> None:
        """Add an event (`progress` or `message`) to a claimed job; raise LeaseLost."""
        with self._database.write() as session:
            append(session, claimed_row(session, claim), kind, payload)

    def add_checkpoint(self, claim: Claim, checkpoint: JobCheckpoint, blobs: BlobStore) -> None:
        """Record a checkpoint of a claimed job, whose blob is stored; the newest few are kept.

        A checkpoint resets the count of failures. Raises LeaseLost, MissingBlob, or Conflict while a collector removes
        the blob.
        """
        # Before the transaction: others do not wait while an object store answers.
        seen = look_at(self._database, blobs, [checkpoint.digest])
        with self._database.write() as session:
            row = claimed_row(session, claim)
            take_writer_lock(session)
            check_kept(session, seen)
            if not row.checkpoints or checkpoint.step > row.checkpoints[0].step:
                row.num_failures = 0
            older = [each for each in row.checkpoints if each.step < checkpoint.step]
            row.checkpoints = [JobCheckpointRow(**asdict(checkpoint)), *older[: NUM_CHECKPOINTS - 1]]

    def checkpoints(self, job_id: str) -> tuple[JobCheckpoint, ...]:
        """Return the checkpoints of a job, the newest first."""
        with self._database.read() as session:
            return tuple(each.record() for each in job_row(session, job_id).checkpoints)

    def release(self, claim: Claim, reason: str) -> TrainingJob:
        """Give a claimed job up because its worker died: back to the queue, or FAILED where it died too often."""
        with self._database.write() as session:
            row = claimed_row(session, claim)
            lose(session, row, reason)
            return row.record()

    def release_gone(self, is_gone: Callable[[str], bool]) -> None:
        """Take their jobs from owners that are known to be dead, before their leases run out."""
        with self._database.write() as session:
            held = select(JobRow).where(JobRow.state.in_(ACTIVE), JobRow.lease_owner.is_not(None))
            for row in session.scalars(held.with_for_update(skip_locked=True)):
                if is_gone(row.lease_owner or ""):
                    lose(session, row, "its runner is gone")

    def hand_back(self, claim: Claim) -> TrainingJob:
        """Give a claimed job up in good order: it is paused or cancelled where that was wished, else queued."""
        with self._database.write() as session:
            row = claimed_row(session, claim)
            state = after_stop(JobState(row.state))
            if state is JobState.QUEUED:
                append(session, row, "message", {"text": "its runner was stopped; the next one goes on with it"})
            move(session, row, state)
            return row.record()


def _begin_again(session: Session, row: JobRow) -> None:
    """Reset the failures and the deadline; raise IllegalState if the base or the dataset no longer exists."""
    take_writer_lock(session)
    if (base := row.record().spec.base) != NO_BASE:
        living_version_row(session, base)
    living_dataset_row(session, row.dataset_id)
    row.fail(None)
    row.num_failures, row.next_attempt_at, row.deadline = 0, None, None


def _why_not(current: JobState, action: DesiredAction) -> str:
    """Say why an action is illegal now, and when it will be legal."""
    stopped = after_stop(current)
    if current in STOPPING and after_action(stopped, action) is not None:
        return f" is still {current}: {action} it once it is {stopped}"
    ended = " has ended already: it" if current in ENDED and action is not DesiredAction.RETRY else ""
    return f"{ended} is {current}, so there is nothing to {action}"


def _same(job: TrainingJob, spec: JobSpec, request_id: str) -> TrainingJob:
    if _as_asked(job.spec) != _as_asked(spec):
        raise AlreadyExists(f"request id {request_id!r} was used for {job.name}, which differs: take a new one")
    return job


def _as_asked(spec: JobSpec) -> JobSpec:
    """Return a spec without what the service, or a search, chooses after it was asked for."""
    is_open = spec.chooses_base or spec.search is not None
    return replace(spec, base=NO_BASE, recipe={}) if is_open else spec
