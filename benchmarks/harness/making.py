"""Models and requests for benchmarks: real architectures with random weights, made from seeds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from maas.open_inference.v2 import open_inference_pb2 as pb
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from model_store.architectures import HEAD, initialise_head
from model_store.bases.catalogue import LoadedBase, load_random
from model_store.calibration import write_calibration
from model_store.manifests import ManifestStage
from model_store.modalities import Batch, Rows
from model_store.modalities.image.spec import PIXELS, ImageInputSpec, Pixels
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from training_service.tasks.classification import CLASSIFICATION
from training_service.training.heads import HeadFitter, load_head

NUM_LABELS = 10


def classifier(architecture: str, seed: int = 0) -> LoadedBase:
    """Build a network of images whose activations have the sizes that a trained one's have, which random ones lack."""
    base = load_random(architecture, seed, NUM_LABELS)
    norms = [module for module in base.chain.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the statistics are those of the one batch below
    noise = torch.randn(16, 3, 128, 128, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        base.chain.train()(Batch.of(noise))
    base.chain.eval()
    return base


def fitted_classifier(architecture: str) -> tuple[LoadedBase, Rows]:
    """Build a network whose head tells ten kinds of pictures well apart, and give pictures that it was not fitted on.

    Only of such a version can be seen whether lower precision changes its labels: scores of a random head all but tie.
    """
    base = classifier(architecture)
    spec = base.input_spec
    assert isinstance(spec, ImageInputSpec)
    rows, labels = _pictures(spec.crop_size, num_each=12)
    with torch.no_grad():
        batches = (Batch({PIXELS: torch.from_numpy(part)}, len(part)) for part in np.array_split(rows, 8))
        parts = [base.chain.embed(spec.to_input(batch)) for batch in batches]
    features = torch.cat(parts).numpy()
    train = np.arange(len(rows)) % 2 == 0
    head = HeadFitter(features, CLASSIFICATION).fit(features[train], labels[train], NUM_LABELS, 1.0)
    load_head(base.chain.stage(HEAD), head)
    return base, Rows({PIXELS: rows[~train]}, int((~train).sum()))


def _pictures(edge: int, num_each: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Return pictures uint8 [n, edge, edge, 3] and labels: those of one label differ by noise."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(NUM_LABELS), num_each)
    coarse = random.integers(0, 255, (NUM_LABELS, 6, 6, 3), np.uint8)
    resized = (Image.fromarray(each).resize((edge, edge), Image.Resampling.BICUBIC) for each in coarse)
    kinds = np.stack([np.asarray(each) for each in resized])
    noise = random.normal(0, 20, (len(labels), edge, edge, 3))
    return (kinds[labels] + noise).clip(0, 255).astype(np.uint8), labels


def publish(
    store: ModelStore,
    model: str,
    base: LoadedBase,
    alias: str | None = None,
    calibration: Rows | None = None,
    kept: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Publish a model as it is, with rows to calibrate by; `kept` are digests of stages that are stored already."""
    chain, digests = base.chain, dict(kept or {})
    stored = write_stages(store.blobs, {n: chain.stage_tensors(n) for n in chain.stage_names if n not in digests})
    for data in base.files:
        store.blobs.put([data])
    digests.update((name, blob.digest) for name, blob in stored.items())
    stages = tuple(ManifestStage(name, digests[name]) for name in chain.stage_names)
    manifest = base.manifest(stages)
    written = None
    if calibration is not None:
        written = write_calibration(store.blobs, chain, calibration, base.input_spec)
    return store.publish(Publication(model, manifest, alias=alias, calibration=written))


class Probes:
    """Models that have all but the head in common, published one by one as linear probes of a base are."""

    def __init__(self, store: ModelStore, base: LoadedBase) -> None:
        self.base = base
        self._store = store
        self._backbone: dict[str, str] = {}  # digests, once it is stored

    def publish(self, model: str, seed: int) -> ModelVersion:
        """Publish one, whose head is of this seed."""
        initialise_head(self.base.chain, seed)
        version = publish(self._store, model, self.base, kept=self._backbone)
        self._backbone = {stage.name: stage.digest for stage in version.stages if stage.name != HEAD}
        return version


def photo(width: int = 500, height: int = 375) -> bytes:
    """Return a JPEG file as photos are: smooth, with some grain."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 255, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grained = (smooth + random.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grained).save(file, "JPEG", quality=85)
    return file.getvalue()


def body_of(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> bytes:
    """Return all of a request for SCORES but the model's name."""
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="SCORES")
    return pb.ModelInferRequest(inputs=[tensor], outputs=[wanted], raw_input_contents=[raw]).SerializeToString()


def floats_body(*shape: int) -> bytes:
    """Return the body of a request with one row of numbers."""
    row = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
    return body_of("INPUT", "FP32", row.shape, row.tobytes())


def pixels_body(path: Path) -> Path:
    """Write the body of a request with one image of the size that no network here has to resize."""
    pixels = np.random.default_rng(0).integers(0, 255, (1, 224, 224, 3), np.uint8)
    path.write_bytes(body_of("PIXELS", "UINT8", pixels.shape, pixels.tobytes()))
    return path
