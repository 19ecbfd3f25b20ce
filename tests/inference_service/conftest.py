"""Fixtures of the inference service's tests: a loader on a real folder of blobs, and a folder that services share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inference_service.execution.executor import Executor
from inference_service.models.loader import Loader
from inference_service.models.resident import ResidentVersion
from model_store.blobs.local import LocalBlobs
from model_store.names import VersionName
from tests.inference_service.making import Recipe, Registry, manifest, open_registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry on SQLite, below the folder that a service takes as its home."""
    return open_registry(tmp_path)


@pytest.fixture
def executor() -> Executor:
    """An executor on the CPU."""
    return Executor(torch.device("cpu"))


@pytest.fixture
def loader(blobs: LocalBlobs, executor: Executor) -> Loader:
    """A loader on the CPU."""
    return Loader(blobs, torch.device("cpu"), executor.warm_up)


@pytest.fixture
def load(blobs: LocalBlobs, loader: Loader) -> Callable[..., ResidentVersion]:
    """Store a model's blobs and load it."""

    def load(recipe: Recipe, number: int = 1) -> ResidentVersion:
        made = manifest(blobs, recipe)
        return loader.load(VersionName("flowers", number), blobs.put([made.to_json()]).digest)

    return load
