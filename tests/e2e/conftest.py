"""A stack of real processes on a store of its own, with a small base in it."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from maas_client.client import Client
from maas_client.stack.processes import Stack
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import load_random

# A lease that runs out soon: what a killed runner leaves is taken up within seconds.
ENVIRONMENT = {
    "MAAS_TRAINING_LEASE_SECONDS": "3",
    "MAAS_TRAINING_HEARTBEAT_SECONDS": "0.5",
    "MAAS_INFERENCE_RETRY_FIRST_SECONDS": "0.5",
    # Several processes share few cores here: threads that spin while they wait would slow one another down.
    "OMP_NUM_THREADS": "1",
}
LABELS = ("disc", "square", "stripes")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pictures, told apart by what is drawn on them."""
    folder = tmp_path_factory.mktemp("shapes")
    draw = random.Random(0)
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(16):
            _picture(label, draw).save(folder / label / f"{number:02}.png")
    return folder


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Both services, not yet started."""
    with Stack(tmp_path / "home", free_ports=True, environment=ENVIRONMENT) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of both services, serving, with the base `squeezenet` in the store."""
    with _with_base(stack) as client:
        yield client


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of services that the tests of a module share: they stop neither, and each names models of its own."""
    with start_serving(tmp_path_factory.mktemp("home")) as client:
        yield client


@contextmanager
def start_serving(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Client]:
    """Start both services with these variables, and the base `squeezenet` in their store, for as long as it is held."""
    with (
        Stack(home, free_ports=True, environment={**ENVIRONMENT, **(environment or {})}) as stack,
        _with_base(stack) as client,
    ):
        yield client


@contextmanager
def _with_base(stack: Stack) -> Iterator[Client]:
    stack.start()
    with Client(stack.await_serving()) as client:
        base = load_random("squeezenet1_1", seed=0, num_labels=4)
        small = replace(base.input_spec, resize_size=72, crop_size=64)
        client.wait_ready(publish_base(client, "squeezenet", replace(base, input_spec=small)).name)
        yield client


def _picture(label: str, draw: random.Random) -> Image.Image:
    def colour() -> tuple[int, ...]:
        return tuple(int(255 * value) for value in colorsys.hsv_to_rgb(draw.random(), 0.8, draw.uniform(0.3, 1)))

    image = Image.new("RGB", (96, 80), colour())
    pen = ImageDraw.Draw(image)
    left, top = draw.randint(5, 30), draw.randint(5, 25)
    box = (left, top, left + 45, top + 45)
    if label == "disc":
        pen.ellipse(box, fill=colour())
    elif label == "square":
        pen.rectangle(box, fill=colour())
    else:
        ink = colour()
        for x in range(0, 96, 12):
            pen.line((x, 0, x, 80), fill=ink, width=5)
    return image
