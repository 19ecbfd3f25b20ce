"""A year of use: changes, jobs with their events and checkpoints, as rows and blobs spread over time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.records.job_lifecycle import JobState
from model_store.tables import ChangeRow, DatasetRow, JobCheckpointRow, JobEventRow, JobRow, ModelRow, VersionRow
from model_store.upkeep.steps import Ages

TABLES = {"changes": ChangeRow, "events": JobEventRow, "jobs": JobRow, "checkpoints": JobCheckpointRow}
CHECKPOINT_BYTES = 4096
_BATCH = 10_000


@dataclass(frozen=True)
class Use:
    """What happened: of the jobs every second one left a version, and every tenth one a checkpoint."""

    num_changes: int
    num_events: int
    num_jobs: int

    @property
    def num_events_each(self) -> int:
        """Events of each job."""
        return self.num_events // self.num_jobs


@dataclass(frozen=True)
class Span:
    """When it happened, evenly spread."""

    first: datetime
    last: datetime

    def moment(self, position: int, count: int) -> datetime:
        """Return when one of so many things happened."""
        return self.first + (self.last - self.first) * ((position + 0.5) / count)

    def num_after(self, moment: datetime, count: int) -> int:
        """Return how many of so many things happened at this moment or later."""
        return sum(self.moment(position, count) >= moment for position in range(count))


def fill(database: Database, blobs: LocalBlobs, use: Use, span: Span, first_job: int = 0) -> None:
    """Insert rows in the order in which they came, as the store would have; the first call makes the model too."""
    with database.write() as session:
        if first_job == 0:
            _insert_model(session, span.first)
        _insert(session, JobRow, (_job(first_job + each, use, span) for each in range(use.num_jobs)))
        _insert(session, VersionRow, (_version(first_job + each, use, span) for each in range(0, use.num_jobs, 2)))
        _insert(session, JobEventRow, _events(first_job, use, span))
        _insert(session, ChangeRow, (_change(each, use, span) for each in range(use.num_changes)))
        _insert(session, JobCheckpointRow, _checkpoints(blobs, first_job, use, span))


def count(database: Database) -> dict[str, int]:
    """Return the rows of each table that grows."""
    with database.read() as session:
        return {name: session.scalar(select(func.count()).select_from(row)) or 0 for name, row in TABLES.items()}


def allowed(use: Use, span: Span, ages: Ages, now: datetime) -> dict[str, int]:
    """Return the most rows that may be left of this use: what is younger than its age, and what stays as a mark."""
    num_old_jobs = use.num_jobs - span.num_after(now - ages.jobs, use.num_jobs)
    num_jobs_gone = num_old_jobs // 2
    num_with_all_events = span.num_after(now - ages.events, use.num_jobs)
    return {
        # The mark, and a change for each job that goes.
        "changes": span.num_after(now - ages.changes, use.num_changes) + 1 + num_jobs_gone,
        "jobs": use.num_jobs - num_jobs_gone,
        "events": num_with_all_events * use.num_events_each + (use.num_jobs - num_jobs_gone - num_with_all_events),
        "checkpoints": span.num_after(now - ages.checkpoints, use.num_jobs),
    }


def _insert(session: Session, table: type[Any], rows: Iterator[dict[str, Any]]) -> None:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            session.execute(insert(table), batch)
            batch = []
    if batch:
        session.execute(insert(table), batch)


def _insert_model(session: Session, now: datetime) -> None:
    life = {"created_at": now, "updated_at": now, "description": "", "revision": 1}
    session.execute(insert(ModelRow).values(id="flowers", last_number=0, is_purged=False, **life))
    dataset = {"id": "d", "digest": "0" * 64, "num_rows": 1, "size_bytes": 1, "summary": {}, "is_purged": False}
    session.execute(insert(DatasetRow).values(**dataset, created_at=now))


def _job(number: int, use: Use, span: Span) -> dict[str, Any]:
    moment = span.moment(number % use.num_jobs, use.num_jobs)
    is_published = number % 2 == 0
    return {
        "id": _job_id(number),
        "model_id": "flowers",
        "base_model_id": "base",
        "base_number": 1,
        "dataset_id": "d",
        "recipe": {"name": "linear_probe", "learning_rate": 0.001, "epoch_count": 10, "batch_size": 32},
        "seed": number,
        "priority": 0,
        "max_failures": 3,
        "state": JobState.SUCCEEDED if is_published else JobState.FAILED,
        "error_code": None if is_published else 10,
        "error": "" if is_published else "gave up after 3 attempts in a row without progress",
        "version_number": number + 1 if is_published else None,
        "num_attempts": 1,
        "num_failures": 0,
        "last_sequence": use.num_events_each,
        "created_at": moment,
        "started_at": moment,
        "ended_at": moment,
    }


def _version(number: int, use: Use, span: Span) -> dict[str, Any]:
    moment = span.moment(number % use.num_jobs, use.num_jobs)
    return {
        "model_id": "flowers",
        "number": number + 1,
        "manifest_digest": "0" * 64,
        "architecture": "resnet18",
        "modality": "image",
        "num_outputs": 2,
        "job_id": _job_id(number),
        "recipe": {},
        "seed": number,
        "added_bytes": 1,
        "description": "",
        "revision": 1,
        "created_at": moment,
        "updated_at": moment,
    }


def _events(first_job: int, use: Use, span: Span) -> Iterator[dict[str, Any]]:
    for number in range(first_job, first_job + use.num_jobs):
        moment = span.moment(number % use.num_jobs, use.num_jobs)
        for sequence in range(1, use.num_events_each + 1):
            yield {
                "job_id": _job_id(number),
                "sequence": sequence,
                "kind": "progress",
                "payload": {"phase": "training", "fraction_done": sequence / use.num_events_each, "loss": 0.25},
                "created_at": moment,
            }


def _change(position: int, use: Use, span: Span) -> dict[str, Any]:
    return {
        "kind": "version_published",
        "resource": f"models/flowers/versions/{position}",
        "created_at": span.moment(position, use.num_changes),
    }


def _checkpoints(blobs: LocalBlobs, first_job: int, use: Use, span: Span) -> Iterator[dict[str, Any]]:
    for number in range(first_job + 9, first_job + use.num_jobs, 10):  # of jobs that failed
        moment = span.moment(number % use.num_jobs, use.num_jobs)
        blob = blobs.put([number.to_bytes(8, "little"), bytes(CHECKPOINT_BYTES - 8)])
        os.utime(blobs.path(blob.digest), (moment.timestamp(), moment.timestamp()))
        yield {"job_id": _job_id(number), "step": 1, "digest": blob.digest, "size_bytes": blob.size_bytes}


def _job_id(number: int) -> str:
    return f"{number:032x}"


def last_days(num_days: float, now: datetime | None = None) -> Span:
    """Return the time up to now."""
    now = now or datetime.now(UTC)
    return Span(now - timedelta(days=num_days), now)
