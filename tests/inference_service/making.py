"""Small real things that the tests of the inference service publish and send."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from grpc_runtime.settings import StoreSettings
from inference_service.models.resident import ResidentVersion
from model_store.architectures import Chain, Head, build, build_random, initialise_head
from model_store.bases.catalogue import LoadedBase
from model_store.bases.tabular import load_random_mlp
from model_store.blobs.local import LocalBlobs
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Batch
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import ImageInputSpec, Pixels, normalise, to_pixels
from model_store.names import AliasName, VersionName
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.tasks import Classification
from model_store.tensors.stages import write_stage, write_stages
from model_store.transactions.publication import Publication

ARCHITECTURE = "squeezenet1_1"
WIDTHS = (6, 16, 12)
SPEC = ImageInputSpec(resize_size=72, crop_size=64)
LABELS = ("daisy", "rose", "tulip")


@dataclass(frozen=True)
class Recipe:
    """A small model: equal seeds of the backbone make versions that share it."""

    backbone: int = 0
    head: int | None = 0
    labels: tuple[str, ...] = LABELS
    spec: ImageInputSpec = SPEC
    temperature: float = 1.0


Damage = Callable[[bytes], bytes]


@lru_cache
def chain(recipe: Recipe) -> Chain:
    """Build a model's chain; nobody changes it."""
    backbone = build_random(ARCHITECTURE, {}, Head("none"), recipe.backbone)
    if recipe.head is None:
        return backbone.eval().requires_grad_(requires_grad=False)
    made = build(ARCHITECTURE, {}, Head("linear", len(recipe.labels)))
    for name in backbone.stage_names:
        made.load_stage(name, backbone.stage_tensors(name))
    initialise_head(made, recipe.head)
    return made.eval().requires_grad_(requires_grad=False)


def manifest(blobs: LocalBlobs, recipe: Recipe) -> Manifest:
    """Store a model's blobs and return its manifest."""
    made = chain(recipe)
    stages = [ManifestStage(name, write_stage(blobs, made.stage_tensors(name)).digest) for name in made.stage_names]
    labels = () if recipe.head is None else recipe.labels
    head = Head("none") if recipe.head is None else Head("linear", len(labels))
    task = Classification(labels, recipe.temperature) if labels else None
    spec = recipe.spec.to_json()
    return Manifest(ARCHITECTURE, {}, tuple(stages), spec, task, head.to_json(), made.embedding_size)


def mlp(num_labels: int = 3, seed: int = 0) -> LoadedBase:
    """Build a model of rows of six numbers, with labels from `class 0`."""
    return load_random_mlp(WIDTHS, [f"class {number}" for number in range(num_labels)], seed)


def mlp_manifest(blobs: LocalBlobs, base: LoadedBase) -> Manifest:
    """Store its blobs and return its manifest."""
    stored = write_stages(blobs, {name: base.chain.stage_tensors(name) for name in base.chain.stage_names})
    return base.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])


def flip_a_byte(data: bytes) -> bytes:
    """Return the same bytes but for one bit, in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@dataclass(frozen=True)
class Registry:
    """A model store that models are published to by recipe."""

    store: ModelStore

    def publish(self, recipe: Recipe, model_id: str = "flowers", alias: str | None = "production") -> ModelVersion:
        """Publish the next version of a model."""
        return self.store.publish(Publication(model_id, manifest(self.store.blobs, recipe), alias=alias))

    def publish_mlp(self, base: LoadedBase, model_id: str = "numbers") -> ModelVersion:
        """Publish the next version of a model of numbers."""
        return self.store.publish(Publication(model_id, mlp_manifest(self.store.blobs, base)))

    def publish_damaged(self, recipe: Recipe, blob: str, damage: Damage | None) -> tuple[ModelVersion, str]:
        """Publish a version, one of whose blobs is then gone or has other bytes; return the blob's digest too.

        The blob is that of a stage, or `manifest`.
        """
        made = manifest(self.store.blobs, recipe)
        digest = {"manifest": made.digest, **{each.name: each.digest for each in made.stages}}[blob]
        self.store.blobs.put([made.to_json()])
        path = self.store.blobs.path(digest)
        data = path.read_bytes()
        # Damaged before the row exists, so that no service can load it in between: a whole copy vouches for the row.
        whole = LocalBlobs(path.parents[2] / "whole")
        manifest(whole, recipe)
        path.unlink()
        if damage is not None:
            path.write_bytes(damage(data))
        version = ModelStore(self.store._database, whole).publish(Publication("flowers", made, alias="production"))
        return version, digest

    def heal(self, recipe: Recipe) -> None:
        """Store a model's blobs again."""
        manifest(self.store.blobs, recipe)

    def point(self, version: VersionName, alias: str = "production") -> None:
        """Point an alias at a version."""
        self.store.set_alias(AliasName(version.model_id, alias), version)


def photo(seed: int = 0, size: tuple[int, int] = (90, 80), image_format: str = "PNG") -> bytes:
    """Return an encoded image of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(file, image_format)
    return file.getvalue()


def pixels(data: bytes, spec: ImageInputSpec = SPEC) -> Pixels:
    """Decode an image as the service should."""
    return to_pixels(decode_image(data, max_pixels=10**6, short_edge=spec.resize_size), spec)


def expected(recipe: Recipe, rows: list[Pixels]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scores and embeddings of these rows, by running the one chain by hand."""
    with torch.inference_mode():
        x = Batch.of(normalise(torch.from_numpy(np.stack(rows)), recipe.spec))
        made = chain(recipe)
        return (made(x) / recipe.temperature).softmax(dim=-1).numpy(), made.embed(x).numpy()


def open_registry(folder: Path) -> Registry:
    """Open a registry of its own in this folder, as the service with this `MAAS_HOME` does."""
    settings = StoreSettings(home=folder)
    return Registry(ModelStore(settings.open_database(), settings.open_blobs()))


def check_features(version: ResidentVersion, stored: Chain) -> None:
    """Check that a loaded version's stages give what the stored ones give."""
    x = torch.rand(2, 3, SPEC.crop_size, SPEC.crop_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = Batch.of(x)
        for stage in version.stages:
            found = stage(found)
        torch.testing.assert_close(found.x, stored(Batch.of(x)), rtol=1e-4, atol=1e-5)
