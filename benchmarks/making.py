"""Models and requests for benchmarks: real architectures with random weights, made from seeds."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from maas.open_inference.v2 import open_inference_pb2 as pb
from PIL import Image
from torch import nn

from model_store.architectures import initialise_head
from model_store.bases import LoadedBase, load_random
from model_store.manifests import Manifest, ManifestStage
from model_store.publication import Publication
from model_store.records import ModelVersion
from model_store.stages import write_stages
from model_store.store import ModelStore

NUM_LABELS = 10
IMAGENET_SPEC = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def classifier(architecture: str, seed: int = 0) -> LoadedBase:
    """Build a network of images whose activations have the sizes that a trained one's have, which random ones lack."""
    base = load_random(architecture, seed, NUM_LABELS)
    norms = [module for module in base.chain.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the statistics are those of the one batch below
    noise = torch.randn(16, 3, 128, 128, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        base.chain.train()(noise)
    base.chain.eval()
    return base


def publish(store: ModelStore, model: str, base: LoadedBase, alias: str | None = None) -> ModelVersion:
    """Publish a model as it is: stages that the store has are not written again."""
    chain = base.chain
    stored = write_stages(store.blobs, {name: chain.stage_tensors(name) for name in chain.stage_names})
    stages = tuple(ManifestStage(name, blob.digest) for name, blob in stored.items())
    spec, head = base.input_spec.to_json(), base.head.to_json()
    manifest = Manifest(base.architecture, base.arguments, stages, spec, base.labels, head)
    return store.publish(Publication(model, manifest, alias=alias))


def publish_probe(store: ModelStore, model: str, base: LoadedBase, seed: int) -> ModelVersion:
    """Publish the base with another head."""
    initialise_head(base.chain, seed)
    return publish(store, model, base)


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
