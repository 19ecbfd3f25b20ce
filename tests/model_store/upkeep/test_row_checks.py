"""The check of rows: what they name exists, and what changes beside the check is nothing wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from model_store.blobs import BlobStatus
from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.names import VersionName
from model_store.records.jobs import JobSpec
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.tables import AliasMoveRow, AliasRow, DatasetRow, JobRow, ModelRow, StageRow, VersionRow
from model_store.upkeep.findings import Kind
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from tests.model_store.making import age, publication
from tests.model_store.upkeep.damage import ONE, PRODUCTION, TWO, only

Change = Callable[[Session], object]


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("change", "kind", "resource"),
    [
        (lambda s: s.execute(update(ModelRow).values(last_number=1)), Kind.WRONG_COUNTER, "models/flowers"),
        (lambda s: s.execute(_two(update).values(deleted_at=NOW)), Kind.DANGLING_ALIAS, str(PRODUCTION)),
        (lambda s: s.execute(update(AliasRow).values(number=1)), Kind.WRONG_HISTORY, str(PRODUCTION)),
        (lambda s: s.execute(delete(AliasMoveRow)), Kind.WRONG_HISTORY, str(PRODUCTION)),
        (lambda s: s.execute(delete(AliasRow)), Kind.WRONG_HISTORY, str(PRODUCTION)),
        (lambda s: s.execute(_one(update).values(deleted_at=NOW)), Kind.MISSING_BASE, str(TWO)),
        (lambda s: s.execute(_two(update).values(base_number=9)), Kind.MISSING_BASE, str(TWO)),
        (lambda s: s.execute(_two(update).values(architecture="other")), Kind.WRONG_MANIFEST, str(TWO)),
        (lambda s: s.execute(_two(update).values(num_outputs=3)), Kind.WRONG_MANIFEST, str(TWO)),
        (lambda s: s.execute(delete(StageRow).where(StageRow.number == 2)), Kind.WRONG_MANIFEST, str(TWO)),
        (lambda s: s.execute(_first_stage().values(position=7)), Kind.WRONG_MANIFEST, str(TWO)),
        (lambda s: s.execute(_first_stage().values(size_bytes=1)), Kind.WRONG_SIZE, str(TWO)),
        (lambda s: s.execute(update(DatasetRow).values(size_bytes=5)), Kind.WRONG_SIZE, "datasets/daisies"),
    ],
)
def test_a_row_that_was_changed_is_found(
    checker: Checker, database: Database, change: Change, kind: Kind, resource: str
) -> None:
    """Rows that disagree with one another, or with what is stored: one problem each, with what to do."""
    with database.write() as session:
        change(session)
    problem = only(checker.check())
    assert (problem.kind, problem.resource) == (kind, resource)
    assert problem.advice


@pytest.mark.usefixtures("versions")
def test_an_unfinished_job_needs_its_base(checker: Checker, store: ModelStore, database: Database) -> None:
    """A job that waits for a version that is gone would fail."""
    store.publish(publication(store, "birds"))
    job = JobStore(database).enqueue(JobSpec("tits", VersionName("birds", 1), "daisies", {}, 0, None))
    assert checker.check().is_clean
    with database.write() as session:
        session.execute(update(JobRow).values(base_number=2))
    assert only(checker.check()).resource == job.name


@pytest.mark.usefixtures("versions")
def test_purging_leaves_nothing_wrong(
    checker: Checker, store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """A purged model takes its aliases along; begun anew, its history is of versions that are gone."""
    due = ModelStore(database, blobs, kept_for=timedelta(0))
    due.delete_model("flowers", force=True)
    assert checker.check(deep=True).is_clean
    age(blobs)
    assert Collector(database, blobs, grace_seconds=60).collect().num_models == 1
    assert checker.check(deep=True).is_clean
    store.publish(publication(store))
    assert checker.check(deep=True).is_clean


def test_a_manifest_that_is_none_is_named(checker: Checker, database: Database, store: ModelStore) -> None:
    """A row that names some other blob as its manifest."""
    store.publish(publication(store))
    with database.write() as session:
        session.execute(update(VersionRow).values(manifest_digest=store.blobs.put([b"[]"]).digest))
    problem = only(checker.check())
    assert (problem.kind, problem.resource) == (Kind.WRONG_MANIFEST, str(ONE))
    assert "must be an object" in problem.text


@pytest.mark.parametrize("deep", [False, True])
def test_a_check_beside_publishing_deleting_and_collecting_finds_nothing(
    checker: Checker, store: ModelStore, database: Database, blobs: LocalBlobs, *, deep: bool
) -> None:
    """Versions come and go in another thread, and their blobs with them."""
    stop, collector = threading.Event(), Collector(database, blobs, grace_seconds=60)
    due = ModelStore(database, blobs, kept_for=timedelta(0))

    def write() -> None:
        seed = 0
        while not stop.is_set():
            seed += 1
            published = store.publish(publication(store, seeds=(seed, seed + 1), alias=f"alias-{seed % 3}"))
            if published.name.number > 3:
                due.delete_version(VersionName("flowers", published.name.number - 3))
            age(blobs)
            collector.collect()

    store.publish(publication(store, seeds=(0, 1)))
    writer = threading.Thread(target=write)
    writer.start()
    reports = []
    try:
        while len(reports) < 40 or (writer.is_alive() and store.get_model("flowers").last_number <= 3):
            reports.append(checker.check(deep=deep))
    finally:
        stop.set()
        writer.join()
    assert [report.problems for report in reports if not report.is_clean] == []
    assert store.get_model("flowers").last_number > 3


def test_what_goes_while_it_is_looked_at_is_nothing_wrong(database: Database, tmp_path: Path) -> None:
    """A version is published after the listing of blobs, and is purged and collected before its blobs are verified."""
    lock = threading.Lock()

    class Raced(LocalBlobs):
        """A store in which that happens."""

        def all(self) -> Iterator[BlobStatus]:
            listed = list(super().all())
            if not listed:
                store.publish(publication(store))
            return iter(listed)

        def verify(self, digest: str) -> None:
            with lock:
                if self.has(digest):
                    store.delete_version(ONE)
                    age(self)
                    Collector(database, self, grace_seconds=60).collect()
            super().verify(digest)

    blobs = Raced(tmp_path / "blobs")
    store = ModelStore(database, blobs, kept_for=timedelta(0))
    report = Checker(database, blobs).check()
    assert report.num_versions == 1
    assert store.get_model("flowers").last_number == 1
    assert (report.problems, list(blobs.all())) == ((), [])


def test_what_comes_while_it_is_looked_at_is_nothing_wrong(database: Database, tmp_path: Path) -> None:
    """An orphan is collected after the listing; just after it was found missing, it is published."""
    looks = iter(range(9))

    class Raced(LocalBlobs):
        """A store in which that happens."""

        def verify(self, digest: str) -> None:
            look = next(looks)
            if look == 0:
                self.path(digest).unlink()
            try:
                super().verify(digest)
            finally:
                if look == 1:
                    store.publish(publication(store, seeds=(1,)))

    blobs = Raced(tmp_path / "blobs")
    store = ModelStore(database, blobs)
    publication(store, seeds=(1,))  # its stage is written, and no row names it
    assert Checker(database, blobs).check(deep=True).problems == ()
    assert next(looks) == 2
    assert Checker(database, blobs).check(deep=True).num_versions == 1


NOW = datetime.now(UTC)


def _one(statement: Callable[[type], Any]) -> Any:
    return statement(VersionRow).where(VersionRow.number == 1)


def _two(statement: Callable[[type], Any]) -> Any:
    return statement(VersionRow).where(VersionRow.number == 2)


def _first_stage() -> Any:
    return update(StageRow).where(StageRow.number == 2, StageRow.position == 0)
