"""Garbage collection: what nobody names goes, everything else stays, whoever publishes meanwhile."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.errors import Conflict, IllegalState, InvalidInput, MissingBlob
from model_store.names import VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobCheckpoint, JobSpec
from model_store.records.resources import Dataset, Lineage
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.tables import TombstoneRow
from model_store.tensors.stages import read_stage
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector, Garbage, Young
from model_store.upkeep.paced_writes import PacedWrites
from tests.model_store.making import age, age_unfinished, calibrated, publication, registered_dataset

NOTHING = Garbage(0, 0, 0)


@pytest.fixture
def collector(database: Database, blobs: LocalBlobs) -> Collector:
    """A collector with a short grace period."""
    return Collector(database, blobs, grace_seconds=60, writes=PacedWrites(database, lambda _: None))


def test_what_rows_name_stays_and_what_they_do_not_goes(
    collector: Collector, store: ModelStore, database: Database
) -> None:
    """Stages, manifests, dataset manifests and packs stay; an orphan of each age is treated by its age."""
    version = store.publish(publication(store))
    manifest, pack = (store.blobs.put([data]).digest for data in (b"manifest", b"pack"))
    DatasetStore(database, store.blobs).register(Dataset("d", manifest, (pack,), 1, 4, {}, datetime.now(UTC)))
    old, young = (store.blobs.put([data]).digest for data in (b"old orphan", b"young orphan"))
    age(store.blobs, keep={young})
    still_young = Young(1, len(b"young orphan"))
    assert collector.find() == Garbage(1, 0, len(b"old orphan"), young=still_young)
    assert store.blobs.has(old)
    assert collector.collect() == Garbage(1, 0, len(b"old orphan"), young=still_young)
    assert collector.collect() == replace(NOTHING, young=still_young)
    assert not store.blobs.has(old)
    assert all(store.blobs.has(digest) for digest in (young, manifest, pack, version.manifest_digest))
    assert all(read_stage(store.blobs, stage.digest) for stage in version.stages)


def test_what_a_killed_writer_left_goes(collector: Collector, blobs: LocalBlobs) -> None:
    """A temporary file is kept while it may be written to, and removed when nobody can be writing any more."""
    with blobs.writer() as writer:
        writer.write(b"half a blob")
        assert collector.collect() == replace(NOTHING, young=collector.find().young)
        age_unfinished(blobs)
        assert collector.collect().num_unfinished == 1
        assert list(blobs.unfinished()) == []


def test_putting_an_old_orphan_again_makes_it_young(collector: Collector, blobs: LocalBlobs) -> None:
    """A publisher whose stage happens to be there already is given the whole grace period."""
    digest = blobs.put([b"orphan"]).digest
    age(blobs)
    blobs.put([b"orphan"])
    assert collector.collect() == replace(NOTHING, young=Young(1, len(b"orphan")))
    assert blobs.has(digest)


def test_a_version_whose_stage_was_collected_is_refused(collector: Collector, store: ModelStore) -> None:
    """Who waits longer than the grace period is told that a blob is missing, and no row is inserted."""
    given = publication(store)
    age(store.blobs)
    assert collector.collect().num_blobs == 2
    with pytest.raises(MissingBlob):
        store.publish(given)


def test_collecting_beside_publishing_breaks_no_version(collector: Collector, store: ModelStore) -> None:
    """While one thread collects without pause, every version that is published can be read back."""
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            age(store.blobs)
            collector.collect()

    thread = threading.Thread(target=collect)
    thread.start()
    published, refused = [], 0
    try:
        for seed in range(30):
            try:
                published.append(store.publish(publication(store, seeds=(seed, seed + 1))))
            except (MissingBlob, Conflict):
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert len(published) + refused == 30
    for version in published:
        assert store.manifest(version)
        assert all(read_stage(store.blobs, stage.digest) for stage in version.stages)


def test_what_was_deleted_stays_until_it_is_due(
    collector: Collector, store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """A deleted version can be brought back whole; one that is due goes, and with it the blobs that it alone held."""
    kept, gone = (store.publish(publication(store, seeds=seeds)) for seeds in ((1, 2), (1, 3)))
    age(blobs)
    store.delete_version(kept.name)
    assert collector.collect() == NOTHING
    ModelStore(database, blobs, kept_for=timedelta(0)).delete_version(gone.name)
    garbage = Garbage(2, 0, blobs.size(gone.manifest_digest) + gone.stages[1].size_bytes, num_versions=1)
    assert collector.find() == garbage
    assert blobs.has(gone.manifest_digest)
    assert collector.collect() == garbage
    assert collector.collect() == collector.find() == NOTHING
    store.undelete_version(kept.name)
    assert all(read_stage(blobs, stage.digest) for stage in kept.stages)


def test_a_calibration_stays_as_long_as_a_version_that_names_it(
    collector: Collector, store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """Rows that two versions share go with the second of them, logits each with their own."""
    first, second = (store.publish(calibrated(store, seeds=seeds)).name for seeds in ((1, 2), (1, 3)))
    due_at_once = ModelStore(database, blobs, kept_for=timedelta(0))
    calibrations = [store.get_version(name).calibration for name in (first, second)]
    assert calibrations[0] is not None
    assert calibrations[1] is not None
    rows, logits, others = calibrations[0].rows, calibrations[0].logits, calibrations[1].logits
    assert calibrations[1].rows == rows != logits != others
    age(blobs)
    assert collector.collect() == NOTHING
    store.delete_version(first)
    due_at_once.delete_version(second)
    assert collector.find() == collector.collect()
    assert [blobs.has(digest) for digest in (rows, logits, others)] == [True, True, False]
    store.undelete_version(first)
    due_at_once.delete_version(first)
    assert collector.collect().num_versions == 1
    assert list(blobs.all()) == []


def test_answers_for_held_out_rows_stay_as_long_as_their_version(
    collector: Collector, store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """They are a blob of the version that no manifest names, found whole by a check."""
    digest = blobs.put([b"answers"]).digest
    version = store.publish(publication(store, answers=digest))
    assert version.answers is not None
    assert (version.answers.digest, version.answers.size_bytes) == (digest, 7)
    assert digest not in {*version.blob_sizes, *(stage.digest for stage in version.stages)}
    age(blobs)
    assert collector.collect() == NOTHING
    assert Checker(database, blobs).check().is_clean
    ModelStore(database, blobs, kept_for=timedelta(0)).delete_version(version.name)
    assert collector.collect().num_versions == 1
    assert not blobs.has(digest)


@pytest.mark.parametrize("seed", range(4))
def test_a_dry_run_says_what_a_run_does(
    collector: Collector, store: ModelStore, database: Database, blobs: LocalBlobs, seed: int
) -> None:
    """Whatever was made from what, shared, deleted and due."""
    chance = random.Random(seed)
    versions: list[VersionName] = []
    for _ in range(25):
        base = chance.choice([None, *versions])
        seeds = chance.randrange(12), chance.randrange(12)
        model_id = chance.choice(["flowers", "birds", "cats"])
        make = chance.choice([publication, calibrated])
        given = make(store, model_id, seeds, lineage=Lineage(base=base))
        versions.append(store.publish(given).name)
    due_at_once = ModelStore(database, blobs, kept_for=timedelta(0))
    for name in reversed(versions):
        try:
            chance.choice([store, due_at_once, due_at_once]).delete_version(name)
            if chance.random() < 0.3:
                due_at_once.delete_model(name.model_id)
        except IllegalState:
            continue
    age(blobs)
    found = collector.find()
    assert found.num_versions
    assert collector.collect() == found
    assert collector.find() == NOTHING


def test_more_than_one_turn_of_garbage_goes(collector: Collector, store: ModelStore, blobs: LocalBlobs) -> None:
    """However much there is, what is named stays."""
    version = store.publish(publication(store))
    for number in range(210):
        blobs.put([str(number).encode()])
    age(blobs)
    assert collector.collect().num_blobs == 210
    assert {blob.digest for blob in blobs.all()} == {version.manifest_digest, *(each.digest for each in version.stages)}


def test_a_grace_period_that_is_too_short_is_refused(database: Database, blobs: LocalBlobs) -> None:
    """Nobody can turn the safety off by accident."""
    with pytest.raises(InvalidInput, match="grace_seconds"):
        Collector(database, blobs, grace_seconds=0)


def test_checkpoints_of_jobs_that_ended_long_ago_are_found(
    store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """What `find` says would go is what `collect` then removes."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    jobs = JobStore(database)
    jobs.enqueue(JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, None))
    claim = jobs.claim("runner")
    assert claim is not None
    blob = blobs.put([b"what it has reached"])
    jobs.add_checkpoint(claim, JobCheckpoint(1, blob.digest, blob.size_bytes), blobs)
    jobs.advance(claim, JobState.FAILED)
    age(blobs)
    collector = Collector(database, blobs, grace_seconds=60, checkpoints_kept_for=timedelta(0))
    assert Collector(database, blobs, grace_seconds=60).collect() == NOTHING
    assert collector.find() == collector.collect() == Garbage(1, 0, blob.size_bytes)


def test_upkeep_that_is_stopped_leaves_no_blob_half_buried(database: Database, blobs: LocalBlobs) -> None:
    """It neither rests nor ends between a tombstone and what settles it: nobody may name the blob meanwhile."""
    blobs.put([b"orphan"])
    age(blobs)

    def pause(_: float) -> None:
        with database.read() as session:
            assert not session.scalar(select(func.count()).where(TombstoneRow.is_settled.is_(False)))

    assert Collector(database, blobs, grace_seconds=60, writes=PacedWrites(database, pause)).collect().num_blobs == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).where(TombstoneRow.is_settled)) == 1
