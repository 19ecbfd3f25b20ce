"""A registry on each kind of database server."""

from __future__ import annotations

import pytest

from model_store.registry.models import ModelStore
from tests.inference_service.making import Registry


@pytest.fixture
def registry(store: ModelStore) -> Registry:
    """A registry on each kind of database server."""
    return Registry(store)
