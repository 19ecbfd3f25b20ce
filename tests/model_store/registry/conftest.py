"""A queue of jobs."""

from __future__ import annotations

import pytest

from model_store.database.engine import Database
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from tests.model_store.making import publication, registered_dataset


@pytest.fixture
def jobs(database: Database, store: ModelStore) -> JobStore:
    """A queue with the dataset and the base that its jobs need."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    return JobStore(database)
