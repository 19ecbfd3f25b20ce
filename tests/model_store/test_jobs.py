"""The job queue: one runner a job, and none for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from model_store.database import Database
from model_store.datasets import DatasetStore
from model_store.errors import (
    AlreadyExists,
    Conflict,
    DatasetNotFound,
    IllegalState,
    JobNotFound,
    LeaseLost,
    MissingBlob,
)
from model_store.jobs import MAX_ATTEMPTS, Claim, JobStore
from model_store.lifecycle import JobState
from model_store.names import VersionName
from model_store.paging import PageRequest
from model_store.records import Dataset, JobSpec
from model_store.store import ModelStore
from tests.model_store.making import publication, registered_dataset

SPEC = JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, "production")
EXPIRED = -1.0


@pytest.fixture
def jobs(database: Database, store: ModelStore) -> JobStore:
    """A queue with the dataset and the base that its jobs need."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    return JobStore(database)


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
    assert store.publish(publication(store, claim=_running(jobs, taken))).name.number == 1


@pytest.mark.usefixtures("jobs")
def test_a_job_that_keeps_losing_runners_fails(database: Database) -> None:
    """After the last attempt the job is FAILED and says so: never RUNNING for ever."""
    jobs = JobStore(database, lease_seconds=EXPIRED)
    job = jobs.enqueue(SPEC)
    assert [jobs.claim("dead") is not None for _ in range(MAX_ATTEMPTS + 1)] == [True] * MAX_ATTEMPTS + [False]
    ended = jobs.get(job.id)
    assert ended.state is JobState.FAILED
    assert "gave up after 3 attempts" in ended.error


def test_a_cancelled_job_whose_runner_dies_ends_cancelled(database: Database, jobs: JobStore) -> None:
    """The wish to cancel outlives the runner."""
    job = jobs.enqueue(SPEC)
    JobStore(database, lease_seconds=EXPIRED).claim("dead")
    jobs.cancel(job.id)
    assert jobs.claim("alive") is None
    assert jobs.get(job.id).state is JobState.CANCELLED


def test_cancel_is_immediate_in_the_queue_and_seen_by_the_runner(jobs: JobStore) -> None:
    """A queued job ends at once; a running one is told at its next heartbeat; an ended one refuses."""
    queued = jobs.enqueue(SPEC)
    assert jobs.cancel(queued.id).state is JobState.CANCELLED
    with pytest.raises(IllegalState, match="has ended already"):
        jobs.cancel(queued.id)
    running = jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    jobs.cancel(running.id)
    assert jobs.cancel(running.id).state is JobState.CANCELLING
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
    assert len(jobs.list(PageRequest()).items) == 1


def test_jobs_come_newest_first_in_pages(jobs: JobStore) -> None:
    """Keyset pages visit every job once."""
    made = [jobs.enqueue(SPEC).id for _ in range(5)]
    first = jobs.list(PageRequest(3))
    second = jobs.list(PageRequest(3, first.next_token))
    assert [job.id for job in (*first.items, *second.items)] == made[::-1]
    assert second.next_token == ""


def test_what_does_not_exist_is_named(jobs: JobStore, database: Database, store: ModelStore) -> None:
    """An unknown job or dataset says so, and a job without its dataset is refused by the database."""
    with pytest.raises(JobNotFound, match="trainingJobs/"):
        jobs.get("0" * 32)
    with pytest.raises(DatasetNotFound, match="datasets/nowhere"):
        DatasetStore(database, store.blobs).get("nowhere")
    with pytest.raises(Conflict):
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
    assert not datasets.exists("d")


def _running(jobs: JobStore, claim: Claim) -> Claim:
    jobs.advance(claim, JobState.RUNNING)
    return claim
