"""A second store heals what is missing or corrupt in the first."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.errors import Conflict, MissingBlob
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.tensors.stages import read_stage
from model_store.upkeep.findings import Kind, Problem
from model_store.upkeep.fsck import Checker
from model_store.upkeep.repair import Repairer
from tests.model_store.making import publication
from tests.model_store.upkeep.damage import ONE, PACK, flip_byte, only, overwrite


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
