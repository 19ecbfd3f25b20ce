"""Stages compiled by OpenVINO: made in a process, found again, shared, and served only where they agree."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from inference_service.batching.queue_entry import Part
from inference_service.execution.executor import Executor
from inference_service.execution.work import Output, Work
from inference_service.models.cpu.compiled_stages import CompiledStages
from inference_service.models.cpu.openvino import OpenVino
from inference_service.models.loader import Loader
from inference_service.models.precision import Backend
from inference_service.models.resident import ResidentVersion
from model_store.architectures import Chain, Head, build_random, initialise_head
from model_store.blobs.cache import BlobCache
from model_store.blobs.local import LocalBlobs
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Batch, Rows
from model_store.modalities.image.spec import PIXELS
from model_store.names import VersionName
from model_store.tasks import Classification
from model_store.tensors.stages import write_stages
from tests.inference_service.making import LABELS, SPEC, flip_a_byte, photo, pixels

pytest.importorskip("openvino")

CPU = torch.device("cpu")
NAME = VersionName("flowers", 1)
IMAGES = [pixels(photo(seed)) for seed in range(5)]
ROWS = Rows({PIXELS: np.stack(IMAGES)}, len(IMAGES))
SECONDS = 120.0  # a process of its own starts, and machines are slow


class Compiling:
    """A loader with compiled stages in a folder, and the names of the versions that it can improve."""

    def __init__(self, blobs: LocalBlobs, folder: Path, precision: str = "float32") -> None:
        self.stages = CompiledStages(BlobCache(folder, 2**30), blobs, OpenVino(2))
        self.improved: queue.Queue[VersionName] = queue.Queue()
        self.loader = Loader(
            blobs, CPU, Executor(CPU).warm_up, precision=precision, compiled=self.stages, improved=self.improved.put
        )

    def compiled(self, digest: str) -> ResidentVersion:
        """Load a version by PyTorch, and again once its stages are compiled."""
        assert self.loader.load(NAME, digest).backend is Backend.TORCH
        assert self.improved.get(timeout=SECONDS) == NAME
        return self.loader.load(NAME, digest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled stages that the tests of this module share: compiling takes seconds."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def compiling(blobs: LocalBlobs, folder: Path) -> Iterator[Compiling]:
    """Compiles for float32 and bfloat16."""
    made = Compiling(blobs, folder)
    with closing(made.stages):
        yield made


def network(seed: int, head: int) -> Chain:
    """Build a small network of convolutions."""
    chain = build_random("mobilenet_v3_small", {}, Head("linear", len(LABELS)), seed)
    initialise_head(chain, head)
    return chain.eval().requires_grad_(requires_grad=False)


def stored(blobs: LocalBlobs, chain: Chain) -> str:
    """Store a network and return its manifest's digest."""
    written = write_stages(blobs, {name: chain.stage_tensors(name) for name in chain.stage_names})
    stages = tuple(ManifestStage(name, written[name].digest) for name in chain.stage_names)
    head, task = Head("linear", len(LABELS)).to_json(), Classification(LABELS)
    manifest = Manifest("mobilenet_v3_small", {}, stages, SPEC.to_json(), task, head, chain.embedding_size)
    return blobs.put([manifest.to_json()]).digest


def answer(version: ResidentVersion, num_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and embeddings of the images, computed by a caller with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    (found,) = Executor(CPU).run([Part(Work(version, ROWS, frozenset(Output)), 0, len(ROWS))])
    torch.set_num_threads(before)
    return found[Output.SCORES], found[Output.EMBEDDING]


def test_a_version_is_served_by_pytorch_until_its_stages_are_compiled(blobs: LocalBlobs, compiling: Compiling) -> None:
    """Both give the plain chain's numbers within 1e-4 of the largest; a probe shares every compiled stage."""
    chain = network(0, 0)
    first = compiling.compiled(stored(blobs, chain))
    assert first.backend is Backend.OPENVINO
    assert {stage.backend for stage in first.backbone} == {Backend.OPENVINO}
    assert first.head is not None
    assert first.head.backend is Backend.TORCH
    rows = SPEC.to_input(Batch({PIXELS: torch.from_numpy(np.stack(IMAGES))}, len(IMAGES)))
    features = chain.embed(rows)
    for num_threads in (1, 2):
        scores, embeddings = answer(first, num_threads)
        assert np.abs(embeddings - features.numpy()).max() < 1e-4 * features.abs().max()
        assert np.abs(scores - chain(rows).softmax(1).numpy()).max() < 1e-4
    second = compiling.loader.load(VersionName("flowers", 2), stored(blobs, network(0, 7)))
    assert second.backbone == first.backbone
    assert compiling.improved.empty()


@pytest.mark.slow
def test_compiled_stages_are_found_after_a_restart(blobs: LocalBlobs, compiling: Compiling, folder: Path) -> None:
    """Another service on the folder serves by them at once, and recompiles files that were damaged."""
    digest = stored(blobs, network(3, 0))
    compiling.compiled(digest)
    again = Compiling(blobs, folder)
    with closing(again.stages):
        assert again.loader.load(NAME, digest).backend is Backend.OPENVINO
        assert again.improved.empty()
    for path in folder.glob("sha256/*/*"):
        path.write_bytes(flip_a_byte(path.read_bytes()))
    damaged = Compiling(blobs, folder)
    with closing(damaged.stages):
        assert damaged.loader.load(NAME, digest).backend is Backend.TORCH
        assert damaged.improved.get(timeout=SECONDS) == NAME
        assert damaged.loader.load(NAME, digest).backend is Backend.OPENVINO


def test_the_copies_of_a_stage_are_one_a_core_and_one_for_all_cores() -> None:
    """On one core that would be a second one for the same."""
    assert [OpenVino(num_threads).num_copies for num_threads in (1, 2, 4)] == [1, 3, 5]
