"""A registry that is running, and a base to publish to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.bases.catalogue import LoadedBase, load_random
from model_store.blobs.local import LocalBlobs
from model_store.manifests import Manifest, ManifestStage
from model_store.tensors.stages import write_stage
from tests.training_service.registry_running import RunningRegistry, running_registry


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A small network with random weights and three labels."""
    return load_random("squeezenet1_1", seed=0, num_labels=3)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A server on an empty store."""
    with running_registry(tmp_path / "home") as running:
        yield running


@pytest.fixture
def local(tmp_path: Path, base: LoadedBase) -> tuple[Manifest, LocalBlobs]:
    """The manifest and the blobs of the network, not published yet."""
    blobs = LocalBlobs(tmp_path / "local")
    names = base.chain.stage_names
    stages = tuple(ManifestStage(name, write_stage(blobs, base.chain.stage_tensors(name)).digest) for name in names)
    return base.manifest(stages), blobs
