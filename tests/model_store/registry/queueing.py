"""A job to queue, and what a runner does with it."""

from __future__ import annotations

from sqlalchemy import update

from model_store.database.engine import Database
from model_store.names import VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import (
    JobError,
    JobSpec,
    TrainingJob,
)
from model_store.registry.jobs import Claim, JobStore
from model_store.tables import JobRow

SPEC = JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, "production")

EXPIRED = -1.0


def error_of(job: TrainingJob) -> JobError:
    """Return why a job failed."""
    assert job.error is not None
    return job.error


def end_backoff(database: Database) -> None:
    """Let what waits for its next attempt be due."""
    with database.write() as session:
        session.execute(update(JobRow).values(next_attempt_at=None))


def begun(jobs: JobStore, claim: Claim) -> Claim:
    """Have a runner begin a claimed job."""
    jobs.advance(claim, JobState.RUNNING)
    return claim
