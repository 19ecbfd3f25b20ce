"""Datasets that are deleted: hidden, brought back, purged; never from under a job, and versions go on naming them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from model_store.database.engine import Database
from model_store.errors import AlreadyExists, DatasetNotFound, IllegalState, MissingBlob
from model_store.names import DatasetName, VersionName
from model_store.records.job_lifecycle import DesiredAction
from model_store.records.jobs import JobSpec
from model_store.records.resources import Dataset, Lineage
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.tables import DatasetRow
from model_store.transactions.changes import ChangeFeed
from model_store.transactions.listings import ListRequest
from model_store.upkeep.findings import Kind
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from model_store.upkeep.usage import DatasetUsage, Share, usage_of
from tests.model_store.making import age, publication

AT_ONCE = timedelta(0)
JOB = JobSpec("flowers", VersionName("flowers", 1), "d", {}, 0, None)


@pytest.fixture
def datasets(database: Database, store: ModelStore) -> DatasetStore:
    """A register with the dataset `d`."""
    made = DatasetStore(database, store.blobs)
    register(made, store, "d", b"the pack")
    return made


def register(datasets: DatasetStore, store: ModelStore, dataset_id: str, *packs: bytes) -> Dataset:
    """Register a dataset whose rows are these packs."""
    manifest, *digests = (store.blobs.put([data]).digest for data in (f"manifest of {dataset_id}".encode(), *packs))
    size = sum(map(len, packs))
    given = Dataset(dataset_id, manifest, tuple(sorted(digests)), 3, size, {"labels": []}, datetime.now(UTC))
    return datasets.register(given)


def ids(datasets: DatasetStore, *, show_deleted: bool = False) -> list[str]:
    """Return what a listing names."""
    return [each.id for each in datasets.list(ListRequest(show_deleted=show_deleted)).items]


def test_a_deleted_dataset_is_hidden_and_comes_back(datasets: DatasetStore, store: ModelStore) -> None:
    """It is in no listing and nothing can be made from it, and undeleting makes it as it was."""
    before = datasets.get("d")
    deleted = datasets.delete("d")
    assert deleted.deleted_at is not None
    assert deleted.purge_at == deleted.deleted_at + timedelta(days=30)
    assert (ids(datasets), ids(datasets, show_deleted=True)) == ([], ["d"])
    assert datasets.get("d") == deleted
    for use in (
        lambda: datasets.living("d"),
        lambda: datasets.delete("d"),
        lambda: datasets.check_free("d"),
        lambda: register(datasets, store, "d", b"the pack"),
    ):
        with pytest.raises(IllegalState, match="datasets/d was deleted: undelete it first"):
            use()
    back = datasets.undelete("d")
    assert back == replace(before, etag=back.etag)
    assert ids(datasets) == ["d"]
    with pytest.raises(IllegalState, match="datasets/d was not deleted"):
        datasets.undelete("d")
    with pytest.raises(DatasetNotFound):
        datasets.delete("other")


def test_the_feed_tells(datasets: DatasetStore, database: Database) -> None:
    """Each step is a change of its own."""
    datasets.delete("d")
    datasets.undelete("d")
    datasets.delete("d", AT_ONCE)
    Collector(database, datasets._blobs, grace_seconds=60).collect()
    changes = [change.kind for change in ChangeFeed(database).after(0) if change.resource == "datasets/d"]
    assert changes == ["dataset_registered", "dataset_deleted", "dataset_undeleted", "dataset_deleted", "purged"]


def test_what_an_unfinished_job_trains_on_stays(datasets: DatasetStore, store: ModelStore, database: Database) -> None:
    """Until it has ended; one that ended cannot be tried again, and none can be queued, without its dataset."""
    store.publish(publication(store))
    jobs = JobStore(database)
    job = jobs.enqueue(JOB)
    with pytest.raises(IllegalState, match=f"datasets/d is what unfinished jobs train on, trainingJobs/{job.id}"):
        datasets.delete("d")
    jobs.request_action(job.id, DesiredAction.CANCEL)
    datasets.delete("d")
    for use in (lambda: jobs.request_action(job.id, DesiredAction.RETRY), lambda: jobs.enqueue(JOB)):
        with pytest.raises(IllegalState, match="datasets/d was deleted"):
            use()
    datasets.undelete("d")
    jobs.request_action(job.id, DesiredAction.RETRY)
    with pytest.raises(IllegalState, match="unfinished jobs"):
        datasets.delete("d")


def test_a_job_and_a_deletion_at_once_agree(datasets: DatasetStore, store: ModelStore, database: Database) -> None:
    """Whoever comes first, no unfinished job has a deleted dataset."""
    store.publish(publication(store))
    jobs = JobStore(database)
    for number in range(8):
        register(datasets, store, f"d{number}", b"some rows")
        spec = JobSpec("flowers", VersionName("flowers", 1), f"d{number}", {}, 0, None)
        refused: list[str] = []

        def attempt(name: str, step: object, refused: list[str] = refused) -> None:
            try:
                step()  # type: ignore[operator]
            except IllegalState:
                refused.append(name)

        steps = {"job": lambda spec=spec: jobs.enqueue(spec), "deletion": lambda n=number: datasets.delete(f"d{n}")}
        threads = [threading.Thread(target=attempt, args=each) for each in steps.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 1
        assert (datasets.get(f"d{number}").deleted_at is None) == (refused == ["deletion"])
    assert Checker(database, store.blobs).check().problems == ()


def test_a_purged_dataset_frees_its_blobs_and_leaves_its_name(
    datasets: DatasetStore, store: ModelStore, database: Database
) -> None:
    """What another dataset shares stays; the version made from it is whole, and its lineage still ends there."""
    register(datasets, store, "more", b"the pack", b"another pack")
    digest, (pack,) = datasets.get("d").digest, datasets.get("d").packs
    version = store.publish(publication(store, lineage=Lineage(dataset_id="d")))
    collector = Collector(database, store.blobs, grace_seconds=60)
    age(store.blobs)
    datasets.delete("d")
    assert collector.collect().num_blobs == 0
    assert usage_of(database, store.blobs).deleted_bytes == len(b"manifest of d")
    datasets.undelete("d")
    datasets.delete("d", AT_ONCE)
    found = collector.find()
    assert collector.collect() == found
    assert (found.num_datasets, found.num_versions, found.num_models, found.num_blobs) == (1, 0, 0, 1)
    assert (store.blobs.has(digest), store.blobs.has(pack)) == (False, True)
    assert ids(datasets, show_deleted=True) == ["more"]
    with pytest.raises(DatasetNotFound, match=f"datasets/d, of digest {digest}, was deleted and purged"):
        datasets.get("d")
    graph = store.lineage(VersionName("flowers", 1))
    assert {node.name: node.state for node in graph.nodes}["datasets/d"] == "PURGED"
    assert store.lineage(DatasetName("d")).nodes[0].state == "PURGED"
    assert Checker(database, store.blobs).check(deep=True).problems == ()
    usage = usage_of(database, store.blobs)
    size = len(b"manifest of more" + b"the pack" + b"another pack")
    assert usage.datasets == (DatasetUsage("datasets/more", Share(size, 0)),)
    assert (usage.num_garbage, usage.deleted_bytes) == (0, 0)
    assert store.manifest(version)


def test_the_same_dataset_comes_back_under_its_id_and_another_does_not(
    datasets: DatasetStore, store: ModelStore, database: Database
) -> None:
    """Lineages that name a purged dataset never come to mean another one."""
    before = datasets.get("d")
    datasets.delete("d", AT_ONCE)
    collector = Collector(database, store.blobs, grace_seconds=60)
    age(store.blobs)
    assert collector.collect().num_blobs == 2
    with pytest.raises(AlreadyExists, match="datasets/d had other content before it was purged"):
        datasets.register(Dataset("d", "1" * 64, (), 3, 4, {}, datetime.now(UTC)))
    with pytest.raises(MissingBlob):
        datasets.register(before)
    datasets.check_free("d")
    back = register(datasets, store, "d", b"the pack")
    assert (back.digest, back.packs, back.summary) == (before.digest, before.packs, before.summary)
    assert (ids(datasets), datasets.living("d")) == (["d"], back)
    age(store.blobs)
    assert collector.collect().num_blobs == 0


def test_a_job_whose_dataset_is_deleted_is_found(datasets: DatasetStore, store: ModelStore, database: Database) -> None:
    """What no call can bring about, a database that was restored from two backups can."""
    store.publish(publication(store))
    job = JobStore(database).enqueue(JOB)
    with database.write() as session:
        session.execute(update(DatasetRow).values(deleted_at=datetime.now(UTC), purge_at=datetime.now(UTC)))
    (problem,) = Checker(database, store.blobs).check().problems
    assert (problem.kind, problem.resource) == (Kind.MISSING_DATASET, f"trainingJobs/{job.id}")
    assert "maas datasets undelete d" in problem.advice
    datasets.undelete("d")
    assert Checker(database, store.blobs).check().problems == ()
