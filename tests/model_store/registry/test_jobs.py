"""The job queue: one runner a job, and none for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from model_store.database.engine import Database
from model_store.database.paging import PageRequest
from model_store.errors import (
    AlreadyExists,
    DatasetNotFound,
    IllegalState,
    JobNotFound,
    LeaseLost,
    MissingBlob,
)
from model_store.names import VersionName
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import (
    DEFAULT_MAX_FAILURES,
    ErrorCode,
    JobSpec,
)
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from tests.model_store.making import publication
from tests.model_store.registry.queueing import EXPIRED, SPEC, begun, end_backoff, error_of


def test_a_job_goes_from_the_queue_to_its_version(jobs: JobStore, store: ModelStore) -> None:
    """Publishing ends the job in the same transaction, and every state is an event."""
    job = jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    jobs.advance(claim, JobState.RUNNING)
    jobs.append(claim, "progress", {"epoch": 1})
    store.publish(publication(store, claim=claim))
    ended = jobs.get(job.id)
    assert (ended.state, ended.version) == (JobState.SUCCEEDED, VersionName("flowers", 1))
    events = jobs.events_after(job.id, 0)
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert [event.payload.get("state", event.kind) for event in events] == [
        "queued",
        "preparing",
        "running",
        "progress",
        "succeeded",
    ]
    assert jobs.events_after(job.id, 4) == events[4:]


def test_many_runners_never_share_a_job(jobs: JobStore) -> None:
    """Twenty jobs and eight runners: each job is claimed exactly once."""
    wanted = {jobs.enqueue(SPEC).id for _ in range(20)}
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda number: jobs.claim(f"runner{number}"), range(40)))
    claimed = [claim.job_id for claim in claims if claim is not None]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == wanted


def test_a_lost_runner_leaves_its_job_to_another(database: Database, jobs: JobStore, store: ModelStore) -> None:
    """When a lease runs out the job is claimed again, and the first runner can change nothing any more."""
    job = jobs.enqueue(SPEC)
    lost = JobStore(database, lease_seconds=EXPIRED).claim("dead")
    assert jobs.claim("too early") is None
    end_backoff(database)
    taken = jobs.claim("alive")
    assert lost is not None
    assert taken is not None
    assert (taken.job_id, taken.attempt) == (job.id, 2)
    for write in (
        lambda: jobs.heartbeat(lost),
        lambda: jobs.append(lost, "progress", {}),
        lambda: jobs.advance(lost, JobState.FAILED),
        lambda: store.publish(publication(store, claim=lost)),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert store.publish(publication(store, claim=begun(jobs, taken))).name.number == 1


@pytest.mark.usefixtures("jobs")
def test_a_job_that_keeps_losing_runners_fails(database: Database) -> None:
    """After so many in a row the job is FAILED and says so: never RUNNING for ever."""
    jobs = JobStore(database, lease_seconds=EXPIRED)
    job = jobs.enqueue(SPEC)
    for _ in range(DEFAULT_MAX_FAILURES):
        assert jobs.claim("dead") is not None
        assert jobs.claim("releases the lost one") is None
        end_backoff(database)
    ended = jobs.get(job.id)
    assert ended.state is JobState.FAILED
    assert "gave up after 3 attempts" in error_of(ended).message
    assert error_of(ended).code is ErrorCode.ABORTED


def test_a_cancelled_job_whose_runner_dies_ends_cancelled(database: Database, jobs: JobStore) -> None:
    """The request to cancel outlives the runner."""
    job = jobs.enqueue(SPEC)
    JobStore(database, lease_seconds=EXPIRED).claim("dead")
    jobs.request_action(job.id, DesiredAction.CANCEL)
    assert jobs.claim("alive") is None
    assert jobs.get(job.id).state is JobState.CANCELLED


def test_cancel_is_immediate_in_the_queue_and_seen_by_the_runner(jobs: JobStore) -> None:
    """A queued job ends at once; a running one is told at its next heartbeat; an ended one refuses."""
    queued = jobs.enqueue(SPEC)
    assert jobs.request_action(queued.id, DesiredAction.CANCEL).state is JobState.CANCELLED
    with pytest.raises(IllegalState, match="has ended already"):
        jobs.request_action(queued.id, DesiredAction.CANCEL)
    running = jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    jobs.request_action(running.id, DesiredAction.CANCEL)
    assert jobs.request_action(running.id, DesiredAction.CANCEL).state is JobState.CANCELLING
    assert jobs.heartbeat(claim) is JobState.CANCELLING


def test_an_illegal_move_changes_nothing(jobs: JobStore) -> None:
    """The table of moves is held inside the transaction."""
    job = jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    with pytest.raises(IllegalState, match="cannot become succeeded"):
        jobs.advance(claim, JobState.SUCCEEDED)
    assert jobs.get(job.id).state is JobState.PREPARING


def test_a_repeated_request_queues_one_job(jobs: JobStore) -> None:
    """The same id returns the first job; with another spec it is refused."""
    first = jobs.enqueue(SPEC, "r1")
    assert jobs.enqueue(SPEC, "r1") == first
    with pytest.raises(AlreadyExists, match="r1"):
        jobs.enqueue(JobSpec("other", SPEC.base, "d", {}, 0, None), "r1")
    assert len(jobs.list(ListRequest()).items) == 1


def test_jobs_come_newest_first_in_pages(jobs: JobStore) -> None:
    """Keyset pages visit every job once."""
    made = [jobs.enqueue(SPEC).id for _ in range(5)]
    first = jobs.list(ListRequest(PageRequest(3)))
    second = jobs.list(ListRequest(PageRequest(3, first.next_token)))
    assert [job.id for job in (*first.items, *second.items)] == made[::-1]
    assert second.next_token == ""


def test_what_does_not_exist_is_named(jobs: JobStore, database: Database, store: ModelStore) -> None:
    """An unknown job or dataset says so, also where a job is to train on it."""
    with pytest.raises(JobNotFound, match="trainingJobs/"):
        jobs.get("0" * 32)
    with pytest.raises(DatasetNotFound, match="datasets/nowhere"):
        DatasetStore(database, store.blobs).get("nowhere")
    with pytest.raises(DatasetNotFound, match="datasets/nowhere"):
        jobs.enqueue(JobSpec("flowers", SPEC.base, "nowhere", {}, 0, None))


@pytest.mark.usefixtures("jobs")
def test_a_dataset_id_names_one_content(database: Database, store: ModelStore) -> None:
    """Registering the same content again is harmless; other content is refused."""
    datasets = DatasetStore(database, store.blobs)
    first = datasets.get("d")
    assert datasets.register(first) == first
    with pytest.raises(AlreadyExists):
        datasets.register(Dataset("d", "1" * 64, (), 3, 4, {}, datetime.now(UTC)))


def test_a_dataset_whose_blob_is_missing_is_not_registered(database: Database, store: ModelStore) -> None:
    """The row comes last: an upload that waited longer than the collector's grace is told, and leaves no row."""
    datasets = DatasetStore(database, store.blobs)
    manifest = store.blobs.put([b"manifest"]).digest
    with pytest.raises(MissingBlob):
        datasets.register(Dataset("d", manifest, ("1" * 64,), 3, 4, {}, datetime.now(UTC)))
    datasets.check_free("d")


def test_a_runner_known_to_be_dead_loses_its_job_at_once(jobs: JobStore) -> None:
    """Whoever else holds one keeps it."""
    dead_job, living_job = jobs.enqueue(SPEC), jobs.enqueue(SPEC)
    dead, living = jobs.claim("dead"), jobs.claim("living")
    assert dead is not None
    assert living is not None
    jobs.release_gone(lambda owner: owner == "dead")
    assert jobs.get(dead_job.id).state is JobState.QUEUED
    assert jobs.get(dead_job.id).num_failures == 1
    with pytest.raises(LeaseLost):
        jobs.heartbeat(dead)
    assert jobs.get(living_job.id).state is JobState.PREPARING
    jobs.heartbeat(living)
