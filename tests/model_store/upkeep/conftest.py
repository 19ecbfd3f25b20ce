"""A store with two versions and a dataset, and a checker of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.records.resources import Dataset, Lineage, ModelVersion
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.upkeep.fsck import Checker
from tests.model_store.making import publication
from tests.model_store.upkeep.damage import ONE


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
