"""The check of a whole store: it names all that is wrong and nothing else, and a second store heals it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest
from sqlalchemy import update

from model_store.blobs import Buffer
from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.errors import CorruptBlob
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.tables import VersionRow
from model_store.tensors.stages import read_stage
from model_store.upkeep.findings import Kind
from model_store.upkeep.fsck import Checker, Progress
from model_store.upkeep.repair import Repairer
from tests.model_store.making import calibrated, publication
from tests.model_store.upkeep.damage import ONE, PACK, TWO, flip_byte, only, overwrite


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
