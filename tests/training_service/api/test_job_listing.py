"""ListTrainingJobs and ListDatasets over the wire: filters, orders, etags, and few transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb
from sqlalchemy import Engine, event

from model_store.names import VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobSpec
from model_store.registry.jobs import JobStore
from model_store.transactions.deletion import purge
from model_store.transactions.publication import Publication
from tests.training_service.making import base_manifest, photos, tar_of
from tests.training_service.running import RunningService, refused

INVALID, ABORTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ABORTED


@contextmanager
def counted_reads() -> Iterator[list[str]]:
    """Note each transaction that answers a call of the service in this process."""
    begun: list[str] = []

    def begin(_connection: object) -> None:
        if (name := threading.current_thread().name).startswith("read"):
            begun.append(name)

    event.listen(Engine, "begin", begin)
    try:
        yield begun
    finally:
        event.remove(Engine, "begin", begin)


def finish_jobs(service: RunningService, number: int) -> list[VersionName]:
    """Let jobs end with a version each, newest last."""
    jobs = JobStore(service.store._database)
    made = []
    for seed in range(number):
        jobs.enqueue(JobSpec("flowers", VersionName("base", 1), "photos", {"name": "linear_probe"}, seed, None))
        claim = jobs.claim("runner")
        assert claim is not None
        jobs.advance(claim, JobState.RUNNING)
        made.append(service.store.publish(Publication("flowers", base_manifest(service.store), claim=claim)).name)
    return made


def test_a_page_of_jobs_costs_two_transactions(ready_service: RunningService) -> None:
    """One for the jobs and one for their versions, however many there are."""
    made = finish_jobs(ready_service, 5)
    with counted_reads() as begun:
        jobs = ready_service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs
    assert [job.version for job in jobs] == [str(name) for name in reversed(made)]
    assert len(begun) == 2


def test_jobs_of_purged_versions_are_still_listed(ready_service: RunningService) -> None:
    """The job keeps the name of its version; what only the version knew is left out."""
    (name,) = finish_jobs(ready_service, 1)
    ready_service.store.delete_version(name)
    with ready_service.store._database.write() as session:
        assert purge(session, datetime.now(UTC) + timedelta(days=60)) == (str(name),)
    (job,) = ready_service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs
    assert (job.version, job.HasField("metrics")) == (str(name), False)
    assert ready_service.job(job.name) == job


def test_jobs_are_filtered_over_the_wire(ready_service: RunningService) -> None:
    """Filter, order and tokens, as for versions; a wrong one names its field."""
    names = [ready_service.create(seed=seed, priority=seed % 2).name for seed in range(3)]
    ready_service.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=names[0]))
    listed = ready_service.training.ListTrainingJobs
    found = listed(pb.ListTrainingJobsRequest(filter="state = QUEUED", order_by="priority desc"))
    assert [job.name for job in found.training_jobs] == [names[1], names[2]]
    page = listed(pb.ListTrainingJobsRequest(filter="model = models/flowers", page_size=2))
    rest = pb.ListTrainingJobsRequest(filter="model = models/flowers", page_size=2, page_token=page.next_page_token)
    assert [job.name for job in (*page.training_jobs, *listed(rest).training_jobs)] == names[::-1]
    for wrong in ({"filter": "owner = me"}, {"order_by": "state"}, {"page_token": page.next_page_token}):
        with refused(INVALID, fields=list(wrong)):
            listed(pb.ListTrainingJobsRequest(**wrong))


def test_datasets_are_filtered_over_the_wire(ready_service: RunningService) -> None:
    """By count, parent and state; in another order."""
    ready_service.upload(tar_of(photos(4)), "few")
    listed = ready_service.training.ListDatasets

    def ids(**asked: str) -> list[str]:
        return [each.name for each in listed(pb.ListDatasetsRequest(**asked)).datasets]

    assert ids(filter="example_count >= 20") == ["datasets/photos"]
    assert ids(order_by="example_count") == ["datasets/few", "datasets/photos"]
    ready_service.training.DeleteDataset(pb.DeleteDatasetRequest(name="datasets/few"))
    assert ids(filter="state = DELETED") == ["datasets/few"]
    with refused(INVALID, fields=["filter"]):
        ids(filter="labels:red")


@pytest.mark.parametrize("call", ["Cancel", "Pause", "Resume", "Retry"])
def test_an_action_with_an_old_etag_is_aborted(ready_service: RunningService, call: str) -> None:
    """The job is as it was; with the etag that is read anew, an action that can be met is."""
    read = ready_service.create()
    request = getattr(pb, f"{call}TrainingJobRequest")
    action = getattr(ready_service.training, f"{call}TrainingJob")
    with refused(ABORTED, f"{read.name} was changed meanwhile"):
        action(request(name=read.name, etag=f"{read.etag}0"))
    assert ready_service.job(read.name) == read
    if call in {"Cancel", "Pause"}:
        assert action(request(name=read.name, etag=read.etag)).etag != read.etag


def test_a_dataset_that_was_changed_is_not_deleted(ready_service: RunningService) -> None:
    """ABORTED, and it is still there."""
    dataset = ready_service.training.GetDataset(pb.GetDatasetRequest(name="datasets/photos"))
    with refused(ABORTED, "datasets/photos was changed meanwhile"):
        ready_service.training.DeleteDataset(pb.DeleteDatasetRequest(name=dataset.name, etag="x"))
    deleted = ready_service.training.DeleteDataset(pb.DeleteDatasetRequest(name=dataset.name, etag=dataset.etag))
    assert deleted.etag != dataset.etag
