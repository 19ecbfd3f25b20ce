"""Two registries, and a version in the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.transfers.publish import publish_base
from model_store.architectures import build, initialise_head
from model_store.bases.catalogue import LoadedBase, load_random
from tests.maas_client.transfers.counting import METRICS
from tests.training_service.registry_running import RunningRegistry, running_registry


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A network of three labels for small images, with random weights."""
    loaded = load_random("squeezenet1_1", seed=0, num_labels=3)
    return replace(loaded, input_spec=replace(loaded.input_spec, resize_size=72, crop_size=64))


@pytest.fixture(scope="module")
def tuned(base: LoadedBase) -> LoadedBase:
    """The same backbone under another head."""
    chain = build(base.architecture, {}, base.head)
    chain.load_state_dict_torchvision(
        {name: each.clone() for name, each in base.chain.state_dict_torchvision().items()}
    )
    initialise_head(chain, seed=7)
    return replace(base, chain=chain.eval(), labels=("rose", "tulip", "daisy"))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[RunningRegistry]:
    """The store that versions come from."""
    with running_registry(tmp_path / "here") as running:
        yield running


@pytest.fixture
def there(tmp_path: Path) -> Iterator[RunningRegistry]:
    """The store that they are carried to, empty at first."""
    with running_registry(tmp_path / "there") as running:
        yield running


@pytest.fixture
def flowers(here: RunningRegistry, base: LoadedBase, tuned: LoadedBase) -> pb.ModelVersion:
    """A version with all that can be said of one, and a base."""
    publish_base(here.client, "base", base)
    about: dict[str, Any] = {"metrics": METRICS, "metric_values": {"top2": 0.9}, "description": "Ours.", "seed": 7}
    recipe = {"name": "head", "rate": 0.1}
    tags = {"team": "vision", "stage": "release"}
    return publish_base(
        here.client, "flowers", tuned, recipe, base="models/base/versions/1", alias="production", tags=tags, **about
    )
