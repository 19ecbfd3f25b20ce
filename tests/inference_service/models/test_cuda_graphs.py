"""Stages that are recorded as CUDA graphs."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from inference_service.__main__ import build
from inference_service.batching.queue_entry import Part
from inference_service.execution.executor import Executor
from inference_service.execution.work import Output, Work
from inference_service.models.cuda_graphs import Recorder, sizes_up_to
from inference_service.models.loader import Loader
from inference_service.models.resident import ResidentVersion
from inference_service.settings import InferenceSettings
from model_store.blobs.local import LocalBlobs
from model_store.errors import InvalidInput
from model_store.names import VersionName
from tests.inference_service.making import Recipe, manifest, photo, pixels

MAX_ROWS = 8
BOTH = frozenset({Output.SCORES, Output.EMBEDDING})
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize(
    ("max_rows", "sizes"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (32, (1, 2, 4, 8, 16, 32)), (33, (1, 2, 4, 8, 16, 32, 33))],
)
def test_sizes_double_up_to_the_largest_batch(max_rows: int, sizes: tuple[int, ...]) -> None:
    """Of no batch more than half of the rows are filled up, and none is too large."""
    assert sizes_up_to(max_rows) == sizes


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_graphs_without_a_gpu_are_refused(tmp_path: Path, device: str) -> None:
    """A setting that can have no effect is refused where the service starts."""

    async def start() -> None:
        with build(InferenceSettings(home=tmp_path, cuda_graphs=True, device=device)):
            pass

    with pytest.raises(InvalidInput, match="cuda_graphs: is true, but the service runs on a CPU"):
        asyncio.run(start())


@needs_a_gpu
def test_recorded_stages_give_what_they_give_unrecorded(blobs: LocalBlobs) -> None:
    """For batches of all sizes, more than were recorded among them, over a tree of stages that versions share."""
    recipes = [Recipe(head=1), Recipe(head=2), Recipe(backbone=1, head=1)]
    plain, recorded = _Served(blobs, recipes), _Served(blobs, recipes, Recorder(MAX_ROWS))
    assert all(stage.is_recorded for version in recorded.versions for stage in version.backbone)
    random = np.random.default_rng(0)
    for num_requests in range(1, 2 * MAX_ROWS):
        asked = [(int(random.integers(len(recipes))), int(random.integers(1, 4))) for _ in range(num_requests)]
        pairs = zip(recorded.run(asked), plain.run(asked), strict=True)
        for found, wanted in pairs:
            for output in BOTH:
                np.testing.assert_allclose(found[output], wanted[output], rtol=0, atol=1e-2)


@needs_a_gpu
def test_recordings_go_with_their_stages_and_come_again(blobs: LocalBlobs) -> None:
    """A version that is unloaded leaves nothing behind, and one that is loaded again is recorded again."""
    served = _Served(blobs, [Recipe()], Recorder(MAX_ROWS))
    stage = weakref.ref(served.versions[0].backbone[0].module)
    served.versions.clear()
    gc.collect()
    assert stage() is None
    served.load(Recipe())
    assert all(each.is_recorded for each in served.versions[0].backbone)


class _Served:
    """Versions on a GPU, and what runs them."""

    def __init__(self, blobs: LocalBlobs, recipes: list[Recipe], recorder: Recorder | None = None) -> None:
        self._blobs = blobs
        self._executor = Executor(torch.device("cuda"))
        self._loader = Loader(blobs, torch.device("cuda"), self._executor.warm_up, recorder=recorder)
        self.versions: list[ResidentVersion] = []
        for recipe in recipes:
            self.load(recipe)

    def load(self, recipe: Recipe) -> None:
        """Load one version more."""
        digest = self._blobs.put([manifest(self._blobs, recipe).to_json()]).digest
        self.versions.append(self._loader.load(VersionName("flowers", len(self.versions) + 1), digest))

    def run(self, asked: list[tuple[int, int]]) -> list[dict[Output, np.ndarray]]:
        """Run a batch: of each request its version's position and how many rows it has."""
        works = []
        for position, num_rows in asked:
            version = self.versions[position]
            rows = np.stack([pixels(photo(seed), version.input_spec) for seed in range(num_rows)])
            works.append(Work(version, rows, BOTH))
        return [dict(each) for each in self._executor.run([Part(work, 0, len(work.rows)) for work in works])]
