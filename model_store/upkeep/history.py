"""Prunes history by age, a few rows a transaction: changes, events of jobs, and jobs without a version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from model_store.database.engine import Database
from model_store.names import job_name
from model_store.records.changes import ChangeKind
from model_store.records.job_lifecycle import ENDED
from model_store.records.promotion import OPEN
from model_store.tables import JobCheckpointRow, JobEventRow, JobRow, VersionRow
from model_store.transactions.changes import append_change, prune_changes, take_writer_lock
from model_store.upkeep.paced_writes import PacedWrites

_BATCH = 1000  # rows removed in one transaction, which bounds the wait of other writers
_NUM_JOBS = 200  # each with a few rows besides its own


@dataclass(frozen=True)
class _Events:
    """Consecutive events of one job."""

    job_id: str
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


class HistoryPruner:
    """Removes rows older than an age; may run at any time, in several processes, and stop between transactions."""

    def __init__(self, database: Database, writes: PacedWrites) -> None:
        self._database = database
        self._writes = writes

    def prune_changes(self, age: timedelta) -> int:
        """Remove changes older than this age; return their number. The last one stays as a mark."""
        total, before = 0, datetime.now(UTC) - age
        while True:
            with self._writes.write() as session:
                num_pruned = prune_changes(session, before, _BATCH)
            if not num_pruned:
                return total
            total += num_pruned

    def prune_events(self, age: timedelta) -> int:
        """Remove events older than this age; return their number. The last event of each job stays."""
        with self._database.read() as session:
            old = list(_old_events(session, datetime.now(UTC) - age))
        total = 0
        for batch in _batches(old):
            with self._writes.write() as session:
                total += sum(_delete_events(session, events) for events in batch)
        return total

    def prune_jobs(self, age: timedelta) -> int:
        """Remove jobs that ended before this age and have no version left; return their number."""
        total, before = 0, datetime.now(UTC) - age
        while True:
            with self._writes.write() as session:
                ids = _delete_jobs(session, before)
            if not ids:
                return total
            total += len(ids)


def _old_events(session: Session, before: datetime) -> Iterator[_Events]:
    """Yield the events made before this moment, job by job, each job's last event left out."""
    sequence = JobEventRow.sequence
    query = (
        select(JobEventRow.job_id, func.min(sequence), func.max(sequence))
        .join(JobRow, JobRow.id == JobEventRow.job_id)
        .where(JobEventRow.created_at < before, sequence < JobRow.last_sequence)
        .group_by(JobEventRow.job_id)
    )
    for row in session.execute(query):
        yield _Events(*row)


def _batches(old: Sequence[_Events]) -> Iterator[list[_Events]]:
    """Group these into batches of at most `_BATCH` events, each job's oldest first."""
    batch: list[_Events] = []
    room = _BATCH
    for events in old:
        first = events.first
        while first <= events.last:
            batch.append(part := _Events(events.job_id, first, min(events.last, first + room - 1)))
            first, room = part.last + 1, room - len(part)
            if not room:
                yield batch
                batch, room = [], _BATCH
    if batch:
        yield batch


def _delete_events(session: Session, events: _Events) -> int:
    is_one = JobEventRow.sequence.between(events.first, events.last)
    done = session.execute(delete(JobEventRow).where(JobEventRow.job_id == events.job_id, is_one))
    return int(done.rowcount)  # type: ignore[attr-defined]  # of a DELETE it is there


def _delete_jobs(session: Session, before: datetime) -> list[str]:
    """Remove some jobs with their events and checkpoints; return their ids. A locked job is skipped."""
    is_its = and_(VersionRow.model_id == JobRow.model_id, VersionRow.number == JobRow.version_number)
    is_published = or_(exists().where(is_its), exists().where(VersionRow.job_id == JobRow.id))
    is_settled = or_(JobRow.promotion_state.is_(None), JobRow.promotion_state.not_in(OPEN))
    is_old = and_(JobRow.state.in_(ENDED), JobRow.ended_at < before, is_settled, ~is_published)
    query = select(JobRow.id).where(is_old).order_by(JobRow.sequence).limit(_NUM_JOBS)
    ids = list(session.scalars(query.with_for_update(skip_locked=True)))
    if ids:
        take_writer_lock(session)
        for table in (JobEventRow, JobCheckpointRow):
            session.execute(delete(table).where(table.job_id.in_(ids)))
        session.execute(delete(JobRow).where(JobRow.id.in_(ids)))
        for job_id in ids:
            append_change(session, ChangeKind.PURGED, job_name(job_id))
    return ids
