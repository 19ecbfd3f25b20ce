"""A disk that is full for real: publishing on a filesystem of a few megabytes."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import pytest
import torch

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.errors import ModelNotFound, StorageFull
from model_store.manifests import Manifest, ManifestStage
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stage
from model_store.transactions.publication import Publication
from tests.model_store.making import publication

MEGABYTE = 1_000_000


def test_a_full_disk_registers_nothing_and_is_given_back(small_disk: Path, tmp_path: Path) -> None:
    """The error says so, no row and no byte stays, and with room the same publish works."""
    database = Database(sqlite_url(tmp_path / "store.db"))
    database.open_schema()
    store = ModelStore(database, LocalBlobs(small_disk / "blobs"))
    kept = store.publish(publication(store, "birds"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 * MEGABYTE))
    free = _free(small_disk)
    for _ in range(3):
        with pytest.raises(StorageFull, match="free some space"):
            _publish_large(store)
        assert _free(small_disk) == free
    assert list(store.blobs.unfinished()) == []
    with pytest.raises(ModelNotFound):
        store.get_model("flowers")
    assert store.get_version(kept.name) == kept
    ballast.unlink()
    assert _publish_large(store) == 1
    database.close()


def test_a_database_on_a_full_disk_registers_nothing(small_disk: Path, tmp_path: Path) -> None:
    """SQLite without room: the transaction is undone, and with room the next number is the next one."""
    database = Database(sqlite_url(small_disk / "store.db"))
    database.open_schema()
    store = ModelStore(database, LocalBlobs(tmp_path / "blobs"))
    store.publish(publication(store))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(_free(small_disk)))
    with pytest.raises(StorageFull, match="free some space"):
        deque((store.publish(publication(store, "birds")) for _ in range(100)), maxlen=0)  # its log has room for a few
    ballast.unlink()
    last = store.get_model("flowers").last_number
    assert store.publish(publication(store)).name.number == last + 1
    database.close()


def _publish_large(store: ModelStore) -> int:
    blob = write_stage(store.blobs, {"weight": torch.zeros(MEGABYTE)})
    manifest = Manifest(
        "tiny", {}, (ManifestStage("stage0", blob.digest),), {"kind": "image"}, None, {"kind": "none"}, 4
    )
    return store.publish(Publication("flowers", manifest)).name.number


def _free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_bsize
