"""Garbage collection: what nobody names goes, everything else stays, whoever publishes meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from datetime import UTC, datetime

import pytest

from model_store.database import Database
from model_store.datasets import DatasetStore
from model_store.errors import InvalidInput, MissingBlob
from model_store.gc import Collector, Garbage
from model_store.local_blobs import LocalBlobs
from model_store.records import Dataset
from model_store.stages import read_stage
from model_store.store import ModelStore
from tests.model_store.making import publication

LONG_AGO = time.time() - 100_000
NOTHING = Garbage(0, 0, 0)


@pytest.fixture
def collector(database: Database, blobs: LocalBlobs) -> Collector:
    """A collector with a short grace period."""
    return Collector(database, blobs, grace_seconds=60)


def test_what_rows_name_stays_and_what_they_do_not_goes(
    collector: Collector, store: ModelStore, database: Database
) -> None:
    """Stages, manifests, dataset manifests and packs stay; an orphan of each age is treated by its age."""
    version = store.publish(publication(store))
    manifest, pack = (store.blobs.put([data]).digest for data in (b"manifest", b"pack"))
    DatasetStore(database).register(Dataset("d", manifest, (pack,), 1, 4, {}, datetime.now(UTC)))
    old, young = (store.blobs.put([data]).digest for data in (b"old orphan", b"young orphan"))
    _age(store.blobs, keep={young})
    assert collector.find() == Garbage(1, 0, len(b"old orphan"))
    assert store.blobs.has(old)
    assert collector.collect() == Garbage(1, 0, len(b"old orphan"))
    assert collector.collect() == NOTHING
    assert not store.blobs.has(old)
    assert all(store.blobs.has(digest) for digest in (young, manifest, pack, version.manifest_digest))
    assert all(read_stage(store.blobs, stage.digest) for stage in version.stages)


def test_what_a_killed_writer_left_goes(collector: Collector, blobs: LocalBlobs) -> None:
    """A temporary file is kept while it may be written to, and removed when nobody can be writing any more."""
    with blobs.writer() as writer:
        writer.write(b"half a blob")
        (unfinished,) = blobs.unfinished()
        assert collector.collect() == NOTHING
        os.utime(unfinished.id, (LONG_AGO, LONG_AGO))
        assert collector.collect().num_unfinished == 1
        assert list(blobs.unfinished()) == []


def test_putting_an_old_orphan_again_makes_it_young(collector: Collector, blobs: LocalBlobs) -> None:
    """A publisher whose stage happens to be there already is given the whole grace period."""
    digest = blobs.put([b"orphan"]).digest
    _age(blobs)
    blobs.put([b"orphan"])
    assert collector.collect() == NOTHING
    assert blobs.has(digest)


def test_a_version_whose_stage_was_collected_is_refused(collector: Collector, store: ModelStore) -> None:
    """Who waits longer than the grace period is told that a blob is missing, and no row is inserted."""
    given = publication(store)
    _age(store.blobs)
    assert collector.collect().num_blobs == 2
    with pytest.raises(MissingBlob):
        store.publish(given)


def test_collecting_beside_publishing_breaks_no_version(collector: Collector, store: ModelStore) -> None:
    """While one thread collects without pause, every version that is published can be read back."""
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            _age(store.blobs)
            collector.collect()

    thread = threading.Thread(target=collect)
    thread.start()
    published, refused = [], 0
    try:
        for seed in range(30):
            try:
                published.append(store.publish(publication(store, seeds=(seed, seed + 1))))
            except MissingBlob:
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert len(published) + refused == 30
    for version in published:
        assert store.manifest(version)
        assert all(read_stage(store.blobs, stage.digest) for stage in version.stages)


def test_a_grace_period_that_is_too_short_is_refused(database: Database, blobs: LocalBlobs) -> None:
    """Nobody can turn the safety off by accident."""
    with pytest.raises(InvalidInput, match="grace_seconds"):
        Collector(database, blobs, grace_seconds=0)


def _age(blobs: LocalBlobs, keep: Collection[str] = ()) -> None:
    """Make every blob but these look old."""
    for blob in blobs.all():
        if blob.digest not in keep:
            try:
                os.utime(blobs.path(blob.digest), (LONG_AGO, LONG_AGO))
            except (MissingBlob, FileNotFoundError):
                continue
