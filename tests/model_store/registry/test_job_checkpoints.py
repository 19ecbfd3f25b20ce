"""Priorities, deadlines and checkpoints of jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from model_store.database.engine import Database
from model_store.errors import (
    IllegalState,
    MissingBlob,
)
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import (
    ErrorCode,
    JobCheckpoint,
    JobError,
    JobUrgency,
)
from model_store.registry.jobs import NUM_CHECKPOINTS, Claim, JobStore
from model_store.registry.models import ModelStore
from model_store.tables import JobRow
from model_store.upkeep.gc import Collector
from tests.model_store.making import publication
from tests.model_store.registry.queueing import SPEC, begun, end_backoff, error_of


def test_a_paused_job_waits_until_it_is_resumed(jobs: JobStore) -> None:
    """In the queue at once; one that runs when its runner has given it up. A repeat of an action changes nothing."""
    job = jobs.enqueue(SPEC)
    assert jobs.request_action(job.id, DesiredAction.PAUSE).state is JobState.PAUSED
    assert jobs.request_action(job.id, DesiredAction.PAUSE).last_sequence == jobs.get(job.id).last_sequence
    assert jobs.claim("runner") is None
    assert jobs.request_action(job.id, DesiredAction.RESUME).state is JobState.QUEUED
    claim = jobs.claim("runner")
    assert claim is not None
    assert jobs.request_action(job.id, DesiredAction.PAUSE).state is JobState.PAUSING
    assert jobs.heartbeat(claim) is JobState.PAUSING
    with pytest.raises(IllegalState, match="is still pausing: resume it once it is paused"):
        jobs.request_action(job.id, DesiredAction.RESUME)
    assert jobs.hand_back(claim).state is JobState.PAUSED


def test_the_highest_priority_goes_first(jobs: JobStore) -> None:
    """And of equal ones the oldest."""
    made = [jobs.enqueue(replace(SPEC, urgency=JobUrgency(priority=each))).id for each in (0, 5, -1, 5)]
    claims = [jobs.claim("runner") for _ in made]
    assert [claim.job_id for claim in claims if claim] == [made[1], made[3], made[0], made[2]]


def test_a_job_ends_at_its_deadline(database: Database, jobs: JobStore) -> None:
    """In the queue or under way; tried again it has none."""
    late = replace(SPEC, urgency=JobUrgency(deadline=datetime.now(UTC) + timedelta(hours=1)))
    running, queued = jobs.enqueue(late), jobs.enqueue(late)
    claim = jobs.claim("runner")
    assert claim is not None
    with database.write() as session:
        session.execute(update(JobRow).values(deadline=datetime.now(UTC) - timedelta(seconds=1)))
    assert jobs.heartbeat(claim) is JobState.FAILED
    assert jobs.claim("runner") is None
    for job in (running, queued):
        assert jobs.get(job.id).state is JobState.FAILED
        assert "deadline" in error_of(jobs.get(job.id)).message
        assert error_of(jobs.get(job.id)).code is ErrorCode.DEADLINE_EXCEEDED
    assert jobs.request_action(queued.id, DesiredAction.RETRY).error is None
    again = jobs.claim("runner")
    assert again is not None
    assert again.job_id == queued.id


def test_a_job_keeps_its_newest_checkpoints(database: Database, jobs: JobStore, store: ModelStore) -> None:
    """One that gets on may lose any number of runners; when it has succeeded none is left."""
    job = jobs.enqueue(SPEC)
    for step in range(1, 6):
        claim = jobs.claim("runner")
        assert claim is not None
        checkpoint(jobs, store, claim, step)
        assert jobs.release(claim, "killed").num_failures == 1
        end_backoff(database)
    assert [each.step for each in jobs.checkpoints(job.id)] == [5, 4][:NUM_CHECKPOINTS]
    claim = jobs.claim("runner")
    assert claim is not None
    checkpoint(jobs, store, claim, 5)
    assert [each.step for each in jobs.checkpoints(job.id)] == [5, 4]
    store.publish(publication(store, claim=begun(jobs, claim)))
    assert jobs.checkpoints(job.id) == ()


def test_checkpoints_live_as_long_as_a_job_may_go_on(database: Database, jobs: JobStore, store: ModelStore) -> None:
    """The collector takes those of a job that ended long ago, and no others."""
    job = jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    checkpoint(jobs, store, claim, 1)
    jobs.advance(claim, JobState.FAILED, error=JobError(ErrorCode.INTERNAL, "no luck"))
    collector = Collector(database, store.blobs, grace_seconds=60)
    collector.collect()
    assert len(jobs.checkpoints(job.id)) == 1
    with database.write() as session:
        session.execute(update(JobRow).values(ended_at=datetime.now(UTC) - timedelta(days=8)))
    collector.collect()
    assert jobs.checkpoints(job.id) == ()


def test_a_checkpoint_without_its_blob_is_refused(jobs: JobStore, store: ModelStore) -> None:
    """The row comes last."""
    jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    with pytest.raises(MissingBlob):
        jobs.add_checkpoint(claim, JobCheckpoint(1, "1" * 64, 3), store.blobs)


def checkpoint(jobs: JobStore, store: ModelStore, claim: Claim, step: int) -> None:
    """Note a checkpoint, with a blob of its own."""
    blob = store.blobs.put([f"state {step}".encode()])
    jobs.add_checkpoint(claim, JobCheckpoint(step, blob.digest, blob.size_bytes), store.blobs)
