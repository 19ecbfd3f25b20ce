"""Stores of earlier revisions of the schema are migrated, and all that is in them is read and written as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.database.paging import PageRequest
from model_store.names import AliasName, VersionName
from model_store.records.metrics import Metrics
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from tests.model_store.database.old_stores import load, revisions, rows_of
from tests.model_store.making import publication
from tests.postgres_server import empty_database

ALL = ListRequest(PageRequest(size=1000))


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without a schema."""
    if request.param == "sqlite":
        database = Database(sqlite_url(tmp_path / "old.db"))
    else:
        database = empty_database(request.getfixturevalue("postgres"))
    yield database
    database.close()


def test_the_first_revision_is_kept() -> None:
    """Whatever is migrated in years to come began as one of these."""
    assert revisions()[0] == "0001"


@pytest.mark.parametrize("revision", revisions())
def test_a_store_of_an_earlier_revision_is_upgraded(empty: Database, blobs: LocalBlobs, revision: str) -> None:
    """Each row is read through the facades, and the registry goes on with the next number, job and change."""
    load(empty, revision)
    empty.migrate()
    empty.open_schema()
    rows, store = rows_of(revision), ModelStore(empty, blobs)
    jobs, datasets = JobStore(empty, lease_seconds=60), DatasetStore(empty, blobs)
    assert {model.id for model in store.list_models(ALL).items} == ids(living(rows["models"]))
    assert {dataset.id for dataset in datasets.list(ALL).items} == ids(living(rows["datasets"]))
    assert {job.id for job in jobs.list(ALL).items} == ids(rows["training_jobs"])
    for row in living(rows["versions"]):
        version = store.get_version(VersionName(row["model_id"], row["number"]))
        assert (version.manifest_digest, version.architecture) == (row["manifest_digest"], row["architecture"])
        assert version.metrics == (None if row["metrics"] is None else Metrics.from_json(row["metrics"]))
    for row in rows["aliases"]:
        assert store.get_alias(AliasName(row["model_id"], row["alias"])).version.number == row["number"]
    for row in rows["training_jobs"]:
        job = jobs.get(row["id"])
        assert (str(job.state), job.num_attempts) == (row["state"], row["num_attempts"])
        assert len(jobs.events_after(job.id, 0)) == sum(
            each["job_id"] == job.id for each in rows["training_job_events"]
        )
    (last,) = [row["last_number"] for row in rows["models"] if row["id"] == "flowers"]
    assert store.publish(publication(store, seeds=(1, 7))).name == VersionName("flowers", last + 1)


def living(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that were not deleted."""
    return [row for row in rows if row["deleted_at"] is None]


def ids(rows: list[dict[str, Any]]) -> set[str]:
    """Return the ids of rows."""
    return {row["id"] for row in rows}
