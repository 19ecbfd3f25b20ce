"""The check of a whole store: it names all that is wrong and nothing else, and a second store heals it."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from model_store.blobs import BlobStatus, Buffer
from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.errors import Conflict, CorruptBlob, MissingBlob
from model_store.names import AliasName, VersionName
from model_store.records.jobs import JobSpec
from model_store.records.resources import Dataset, Lineage, ModelVersion
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.tables import AliasMoveRow, AliasRow, DatasetRow, JobRow, ModelRow, StageRow, VersionRow
from model_store.tensors.stages import read_stage
from model_store.upkeep.findings import Kind, Problem, Report
from model_store.upkeep.fsck import Checker, Progress
from model_store.upkeep.gc import Collector
from model_store.upkeep.repair import Repairer
from tests.model_store.making import age, calibrated, publication

ONE, TWO = VersionName("flowers", 1), VersionName("flowers", 2)
PRODUCTION = AliasName("flowers", "production")
PACK = hashlib.sha256(b"pack").hexdigest()


@pytest.fixture
def checker(database: Database, blobs: LocalBlobs) -> Checker:
    """A checker of the store."""
    return Checker(database, blobs)


@pytest.fixture
def versions(store: ModelStore, database: Database) -> list[ModelVersion]:
    """Two versions that share a stage, the second made from the first and in production; and a dataset."""
    manifest, pack = (store.blobs.put([data]).digest for data in (b"manifest", b"pack"))
    DatasetStore(database, store.blobs).register(Dataset("daisies", manifest, (pack,), 1, 4, {}, datetime.now(UTC)))
    first = store.publish(publication(store, seeds=(1, 2), alias="production"))
    second = store.publish(
        publication(store, seeds=(1, 3), alias="production", lineage=Lineage(base=ONE, dataset_id="daisies"))
    )
    return [first, second]


def only(report: Report) -> Problem:
    """Return the one problem that was found."""
    (problem,) = report.problems
    assert not report.is_clean
    return problem


def flip_byte(path: Path, position: int = -1) -> None:
    """Damage one byte of a blob, and let its size be."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    overwrite(path, bytes(data))


def overwrite(path: Path, data: bytes) -> None:
    """Give a blob other bytes."""
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_wrong_with_a_good_store(
    checker: Checker, store: ModelStore, blobs: LocalBlobs, *, deep: bool
) -> None:
    """What it looked at is counted; an orphan, a deleted version and a deleted model are nothing wrong."""
    blobs.put([b"orphan"])
    store.publish(publication(store, "birds", alias="production"))
    store.delete_model("birds", force=True)
    steps: list[Progress] = []
    report = checker.check(deep=deep, on_progress=steps.append)
    assert (report.problems, report.is_clean, report.is_deep) == ((), True, deep)
    assert (report.num_versions, report.num_datasets, report.num_orphans) == (3, 1, 1)
    assert report.num_blobs == len(list(blobs.all())) == 8
    assert report.size_bytes == sum(blob.size_bytes for blob in blobs.all())
    if deep:
        assert len(steps) == 8
        assert steps[-1] == Progress(report.size_bytes, report.size_bytes)


def test_every_byte_that_is_damaged_is_found(checker: Checker, blobs: LocalBlobs, versions: list[ModelVersion]) -> None:
    """Each blob of a version in turn: named with the versions that need it, refused when read, whole again after."""
    shared, own = versions[1].stages
    for digest, needed_by in (
        (shared.digest, (str(ONE), str(TWO))),
        (own.digest, (str(TWO),)),
        (versions[1].manifest_digest, (str(TWO),)),
        (PACK, ("datasets/daisies",)),
    ):
        good = blobs.path(digest).read_bytes()
        flip_byte(blobs.path(digest))
        problem = only(checker.check(deep=True))
        assert (problem.kind, problem.digest, problem.needed_by) == (Kind.CORRUPT_BLOB, digest, needed_by)
        assert digest in problem.resource
        assert "--repair --from" in problem.advice
        with pytest.raises(CorruptBlob, match=digest):
            read_stage(blobs, digest)
        overwrite(blobs.path(digest), good)
    assert checker.check(deep=True).is_clean


def test_a_calibration_that_is_lost_or_damaged_is_found(
    checker: Checker, store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """Both blobs, one that is cut short and one that is missing by the quick check too; and a row of another size."""
    version = store.publish(calibrated(store))
    assert version.calibration is not None
    assert checker.check(deep=True).is_clean
    for digest in (version.calibration.rows, version.calibration.logits):
        path = blobs.path(digest)
        good = path.read_bytes()
        flip_byte(path)
        found = only(checker.check(deep=True))
        assert (found.kind, found.digest, found.needed_by) == (Kind.CORRUPT_BLOB, digest, (str(ONE),))
        overwrite(path, good[:-1])
        assert only(checker.check()).kind is Kind.CORRUPT_BLOB
        path.unlink()
        assert only(checker.check()).kind is Kind.MISSING_BLOB
        blobs.put([good])
    with database.write() as session:
        session.execute(update(VersionRow).values(calibration_rows_bytes=5))
    found = only(checker.check())
    assert (found.kind, found.resource) == (Kind.WRONG_SIZE, str(ONE))
    assert "calibration rows has 5 bytes in its row" in found.text


@pytest.mark.usefixtures("versions")
def test_a_corrupt_manifest_is_found_without_reading_the_rest(
    checker: Checker, blobs: LocalBlobs, versions: list[ModelVersion]
) -> None:
    """Manifests are read by every check; a stage of the right size is not."""
    flip_byte(blobs.path(versions[0].stages[0].digest))
    assert checker.check().is_clean
    flip_byte(blobs.path(versions[0].manifest_digest))
    assert only(checker.check()).needed_by == (str(ONE),)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: overwrite(path, path.read_bytes()[:-1])])
def test_what_is_missing_or_torn_is_found_without_reading(
    checker: Checker, blobs: LocalBlobs, versions: list[ModelVersion], damage: Callable[[Path], None]
) -> None:
    """A look at the listing suffices; and reading everything finds the same."""
    digests = {versions[0].manifest_digest, versions[1].stages[0].digest, versions[1].stages[1].digest, PACK}
    for digest in digests:
        damage(blobs.path(digest))
    report = checker.check()
    assert {problem.digest for problem in report.problems} == digests
    assert {problem.kind for problem in report.problems} in ({Kind.MISSING_BLOB}, {Kind.CORRUPT_BLOB})
    assert set(report.problems) == set(checker.check(deep=True).problems)


def test_a_corrupt_orphan_is_found_by_reading_and_moved_aside(
    checker: Checker, database: Database, blobs: LocalBlobs
) -> None:
    """Nobody needs it: that is all there is to do."""
    digest = blobs.put([b"orphan"]).digest
    flip_byte(blobs.path(digest))
    assert checker.check().is_clean
    report = checker.check(deep=True)
    assert only(report).needed_by == ()
    repaired = Repairer(database, blobs).repair(report)
    assert repaired.is_clean
    assert not blobs.has(digest)
    assert checker.check(deep=True).is_clean


def test_a_blob_that_its_disk_cannot_read_is_corrupt(
    checker: Checker, database: Database, blobs: LocalBlobs, versions: list[ModelVersion], tmp_path: Path
) -> None:
    """A bad sector ends neither the check nor the repair, and a reader is told which blob it is."""
    digest = versions[0].stages[0].digest
    backup = LocalBlobs(tmp_path / "backup")
    backup.put([blobs.read(digest)])

    class FailingDisk(LocalBlobs):
        """A store on a disk with a bad sector in one file, as long as it is in its place."""

        def _opened(self, name: str) -> FileIO:
            file = super()._opened(name)
            bad = name == digest and not list((tmp_path / "blobs").glob("quarantine/*"))
            return Unreadable(file.name) if bad else file

    failing = FailingDisk(tmp_path / "blobs")
    with pytest.raises(CorruptBlob, match=f"{digest} is corrupt: the disk cannot read"):
        read_stage(failing, digest)
    report = Checker(database, failing).check(deep=True)
    assert only(report).needed_by == (str(ONE), str(TWO))
    assert Repairer(database, failing, backup).repair(report).is_clean
    assert checker.check(deep=True).is_clean


class Unreadable(FileIO):
    """A file whose bytes the disk cannot give back."""

    def readinto(self, buffer: Buffer) -> int:  # noqa: ARG002  as every file's
        raise OSError(errno.EIO, "Input/output error")


def test_a_second_store_heals_everything(
    checker: Checker, database: Database, blobs: LocalBlobs, versions: list[ModelVersion], tmp_path: Path
) -> None:
    """Missing, torn and corrupt blobs are fetched again; the damaged copies are kept where the report says."""
    backup = LocalBlobs(tmp_path / "backup")
    for blob in blobs.all():
        backup.put([blobs.read(blob.digest)])
    missing, torn, corrupt = versions[1].manifest_digest, versions[1].stages[0].digest, PACK
    blobs.path(missing).unlink()
    overwrite(blobs.path(torn), b"")
    flip_byte(blobs.path(corrupt))
    report = Repairer(database, blobs, backup).repair(checker.check(deep=True))
    assert {problem.digest for problem in report.problems} == {missing, torn, corrupt}
    assert report.is_clean
    assert checker.check(deep=True).problems == ()
    assert read_stage(blobs, torn)
    (place,) = [_place(problem) for problem in report.problems if problem.digest == corrupt]
    assert hashlib.sha256(place.read_bytes()).hexdigest() != corrupt


@pytest.mark.parametrize("state", ["nowhere", "missing", "corrupt"])
def test_what_cannot_be_fetched_stays_a_problem(
    checker: Checker, database: Database, blobs: LocalBlobs, versions: list[ModelVersion], tmp_path: Path, state: str
) -> None:
    """A corrupt blob is moved aside all the same, so that nobody reads it; the next check says that it is missing."""
    digest = versions[0].stages[0].digest
    backup = LocalBlobs(tmp_path / "backup")
    if state == "corrupt":
        backup.put([blobs.read(digest)])
        flip_byte(backup.path(digest))
    flip_byte(blobs.path(digest))
    report = Repairer(database, blobs, None if state == "nowhere" else backup).repair(checker.check(deep=True))
    problem = only(report)
    assert not problem.is_solved
    assert _place(problem).is_file()
    assert only(checker.check()).kind is Kind.MISSING_BLOB
    with pytest.raises(MissingBlob, match=digest):
        read_stage(blobs, digest)


def test_a_blob_that_is_whole_again_is_left_alone(
    checker: Checker, database: Database, blobs: LocalBlobs, versions: list[ModelVersion]
) -> None:
    """Whoever publishes the same bytes again heals them: a repair that comes later moves nothing."""
    digest = versions[0].stages[0].digest
    data = blobs.read(digest)
    flip_byte(blobs.path(digest))
    report = checker.check(deep=True)
    blobs.put([data])
    assert Repairer(database, blobs).repair(report).is_clean
    assert blobs.read(digest) == data


def test_who_heals_a_blob_while_it_is_moved_aside_is_told(
    checker: Checker, database: Database, versions: list[ModelVersion], tmp_path: Path
) -> None:
    """A version published again at that very moment is refused: it does not lose a blob that was whole."""
    refusals: list[Exception] = []
    healed = threading.Event()

    class Raced(LocalBlobs):
        """A store in which the blob is healed between the last look at it and the move."""

        def quarantine(self, digest: str) -> str:
            publisher.start()
            healed.wait()
            publisher.join()
            return super().quarantine(digest)

    blobs = Raced(tmp_path / "blobs")
    store = ModelStore(database, blobs)

    def publish() -> None:
        given = publication(store, "birds", seeds=(1, 2))
        healed.set()
        try:
            store.publish(given)
        except Conflict as error:
            refusals.append(error)

    publisher = threading.Thread(target=publish)
    flip_byte(blobs.path(versions[0].stages[1].digest))
    report = Repairer(database, blobs).repair(checker.check(deep=True))
    publisher.join()
    assert len(refusals) == 1
    assert only(report).needed_by == only(checker.check(deep=True)).needed_by == (str(ONE),)


def _place(problem: Problem) -> Path:
    assert problem.repair is not None
    return Path(problem.repair.text.removeprefix("moved to ").partition(";")[0])


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
