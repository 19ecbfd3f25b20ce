"""Lineage up and down, and what differs between two versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from model_store.database.engine import Database
from model_store.errors import DatasetNotFound, JobNotFound, VersionNotFound
from model_store.names import DatasetName, JobName, VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobSpec
from model_store.records.metrics import Metrics
from model_store.records.resources import Lineage
from model_store.registry.comparison import Difference, MetricDifference
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions import deletion
from model_store.transactions.lineage import LineageEdge, LineageGraph
from tests.model_store.making import publication, registered_dataset

BASE, TUNED, CHILD = VersionName("base", 1), VersionName("flowers", 1), VersionName("roses", 1)


@pytest.fixture
def job(store: ModelStore, database: Database) -> str:
    """A base, a fine-tune of it by a job on a dataset, and a child of that; the job's name."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "photos")
    jobs = JobStore(database)
    job = jobs.enqueue(JobSpec("flowers", BASE, "photos", {}, 0, None))
    claim = jobs.claim("runner")
    assert claim is not None
    jobs.advance(claim, JobState.RUNNING)
    lineage = Lineage(BASE, "photos", job.id, {"name": "full"}, 7)
    store.publish(publication(store, seeds=(1, 3), lineage=lineage, claim=claim))
    store.publish(publication(store, "roses", lineage=Lineage(base=TUNED)))
    return job.name


def test_a_family_is_the_same_from_every_member(store: ModelStore, job: str) -> None:
    """From base, fine-tune, child, dataset or job: the same nodes and edges, the asked one first."""
    edges = {
        LineageEdge(str(BASE), str(TUNED), "base"),
        LineageEdge("datasets/photos", str(TUNED), "dataset"),
        LineageEdge(job, str(TUNED), "training_job"),
        LineageEdge(str(TUNED), str(CHILD), "base"),
    }
    names = (BASE, TUNED, CHILD, DatasetName("photos"), JobName(job.removeprefix("trainingJobs/")))
    for name in names:
        graph = store.lineage(name)
        assert graph.nodes[0].name == str(name)
        assert {node.name for node in graph.nodes} == {str(each) for each in names}
        assert set(graph.edges) == edges
        assert not graph.is_truncated
    states = {node.name: node.state for node in store.lineage(TUNED).nodes}
    assert (states[job], states[str(CHILD)]) == ("SUCCEEDED", "ACTIVE")


@pytest.mark.usefixtures("job")
def test_a_family_is_cut_where_asked(store: ModelStore) -> None:
    """So many generations each way, so many nodes; and the graph says that there is more."""
    assert _names(store.lineage(TUNED, num_up=0)).isdisjoint({str(BASE)})
    assert _names(store.lineage(TUNED, num_down=0)).isdisjoint({str(CHILD)})
    assert store.lineage(TUNED, num_up=0).is_truncated
    assert store.lineage(BASE, num_down=1).is_truncated
    assert str(CHILD) not in _names(store.lineage(BASE, num_down=1))
    small = store.lineage(BASE, max_nodes=2)
    assert (len(small.nodes), small.is_truncated) == (2, True)
    assert all({edge.source, edge.target} <= _names(small) for edge in small.edges)


@pytest.mark.usefixtures("job")
def test_what_was_deleted_stays_in_the_family(store: ModelStore, database: Database) -> None:
    """A deleted version says so; a purged one is gone, and its parents remain."""
    store.delete_version(CHILD)
    assert {node.name: node.state for node in store.lineage(TUNED).nodes}[str(CHILD)] == "DELETED"
    with database.write() as session:
        deletion.purge(session, datetime.now(UTC) + timedelta(days=31))
    assert str(CHILD) not in _names(store.lineage(TUNED))


def test_unknown_origins_are_named(store: ModelStore) -> None:
    """Each look-up says which resource is missing."""
    store.publish(publication(store))
    for name, error in (
        (VersionName("flowers", 9), VersionNotFound),
        (DatasetName("nowhere"), DatasetNotFound),
        (JobName("0" * 32), JobNotFound),
    ):
        with pytest.raises(error, match=str(name)):
            store.lineage(name)


def test_two_versions_are_compared(store: ModelStore) -> None:
    """Metrics side by side; stages, hyperparameters and manifest only where they differ."""
    registered_dataset(store, "photos")
    first = store.publish(
        publication(
            store,
            lineage=Lineage(dataset_id="photos", recipe={"name": "full", "lr": 0.1}),
            metric_values={"accuracy": 0.5},
        )
    )
    second = store.publish(
        publication(
            store,
            seeds=(1, 3),
            lineage=Lineage(
                dataset_id="photos", recipe={"name": "full", "lr": 0.2, "schedule": {"kind": "cosine"}}, seed=1
            ),
            metric_values={"accuracy": 0.75, "loss": 2.0},
        )
    )
    found = store.compare(first.name, second.name)
    assert found.metrics == (MetricDifference("accuracy", 0.5, 0.75), MetricDifference("loss", None, 2.0))
    assert found.stages == (Difference("stage1", first.stages[1].digest, second.stages[1].digest),)
    assert found.shared_bytes == first.stages[0].size_bytes
    assert found.hyperparameters == (
        Difference("lr", "0.1", "0.2"),
        Difference("seed", "0", "1"),
        Difference("schedule.kind", "", '"cosine"'),
    )
    assert (found.manifest, found.added_labels, found.removed_labels) == ((), (), ())
    assert found.obstacle == ""
    same = store.compare(first.name, first.name)
    assert (same.stages, same.hyperparameters) == ((), ())


def test_metrics_of_other_rows_are_not_set_side_by_side(store: ModelStore) -> None:
    """Where the rows are others, or nobody knows which they are; the reason names both."""
    for dataset in ("photos", "drawings"):
        registered_dataset(store, dataset)
    values, metrics = {"accuracy": 0.5}, Metrics("test", 9, {"accuracy": 0.5})
    made = [
        store.publish(publication(store, lineage=Lineage(dataset_id=dataset), metrics=measured, metric_values=given))
        for dataset, measured, given in (
            ("photos", metrics, {}),
            ("photos", metrics, {}),
            ("drawings", metrics, {}),
            ("photos", replace(metrics, split="validation"), {}),
            (None, None, values),
            (None, None, values),
            ("photos", None, {}),
            ("photos", None, {}),
        )
    ]
    assert [len(store.compare(made[0].name, other.name).metrics) for other in made] == [1, 1, 0, 0, 0, 0, 0, 0]
    reasons = [store.compare(made[0].name, other.name).obstacle for other in made]
    assert (
        "test split of datasets/photos, and models/flowers/versions/3 on the test split of datasets/drawings"
        in reasons[2]
    )
    assert "validation split of datasets/photos" in reasons[3]
    assert "only its publisher knows" in reasons[4]
    assert reasons[6] == "models/flowers/versions/7 has no metrics"
    assert store.compare(made[4].name, made[5].name).metrics == ()
    assert store.compare(made[4].name, made[4].name).metrics == (MetricDifference("accuracy", 0.5, 0.5),)
    assert store.compare(made[6].name, made[7].name).obstacle == ""


def _names(graph: LineageGraph) -> set[str]:
    return {node.name for node in graph.nodes}
