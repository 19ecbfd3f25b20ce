"""Small real things that the tests train on: pictures, archives of them, and bases."""

from __future__ import annotations

import io
import itertools
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from grpc_runtime.settings import StoreSettings
from model_store.architectures import Head, build_random
from model_store.bases.tabular import load_random_mlp
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities.image.spec import ImageInputSpec
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.tasks import Classification
from model_store.tensors.stages import write_stage
from model_store.transactions.publication import Publication

SPEC = ImageInputSpec(resize_size=72, crop_size=64)
ARCHITECTURE = "squeezenet1_1"
COLOURS = {"blue": (40, 40, 220), "green": (30, 200, 60), "red": (220, 40, 40)}


@lru_cache(maxsize=512)
def picture(colour: str = "red", seed: int = 0, image_format: str = "PNG", size: tuple[int, int] = (90, 80)) -> bytes:
    """Return an encoded image of a coloured disc on a noisy ground, another for each seed."""
    random = np.random.default_rng([seed, *COLOURS[colour]])
    image = Image.fromarray(random.integers(90, 170, (size[1], size[0], 3), np.uint8))
    left, top = (int(each) for each in random.integers(5, 25, 2))
    ImageDraw.Draw(image).ellipse((left, top, left + 50, top + 45), fill=COLOURS[colour])
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def photos(num_each: int = 10, labels: tuple[str, ...] = ("blue", "red")) -> dict[str, bytes]:
    """Return files of one folder for each label, by path."""
    return {f"{label}/{seed}.png": picture(label, seed) for label in labels for seed in range(num_each)}


def write_noise(folder: Path) -> Path:
    """Write ten mebibytes of images that cannot be compressed, in folders of two labels; return the folder."""
    noise = np.random.default_rng(0)
    for label, number in itertools.product(("noise", "static"), range(10)):
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (400, 440, 3), np.uint8)).save(folder / label / f"{number}.png")
    return folder


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return buffer.getvalue()


def tar_of(files: Mapping[str, bytes], *, gzipped: bool = False) -> bytes:
    """Return a tar archive."""
    return tar_with([(_tar_info(path, len(data)), data) for path, data in files.items()], gzipped=gzipped)


def tar_with(members: list[tuple[tarfile.TarInfo, bytes]], *, gzipped: bool = False) -> bytes:
    """Return a tar archive of any members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if gzipped else "w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_member(path: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """Return an entry of any kind, without content."""
    info = _tar_info(path, 0)
    info.type, info.linkname = kind, target
    return info


def open_store(home: Path) -> ModelStore:
    """Open the store that a service with this `MAAS_HOME` uses."""
    settings = StoreSettings(home=home)
    return ModelStore(settings.open_database(), settings.open_blobs())


def base_manifest(store: ModelStore, head: Head | None = None, seed: int = 0) -> Manifest:
    """Store the stages of a randomly initialised model and return its manifest."""
    head = head or Head("none")
    chain = build_random(ARCHITECTURE, {}, head, seed)
    stages = [
        ManifestStage(name, write_stage(store.blobs, chain.stage_tensors(name)).digest) for name in chain.stage_names
    ]
    labels = tuple(f"label {index}" for index in range(head.outputs))
    task = Classification(labels) if labels else None
    return Manifest(ARCHITECTURE, {}, tuple(stages), SPEC.to_json(), task, head.to_json(), chain.embedding_size)


def publish_base(store: ModelStore, model_id: str = "base", head: Head | None = None, seed: int = 0) -> ModelVersion:
    """Publish a randomly initialised model."""
    return store.publish(Publication(model_id, base_manifest(store, head, seed)))


def publish_mlp(store: ModelStore, model_id: str, widths: Sequence[int] = (4, 8)) -> ModelVersion:
    """Publish a randomly initialised model of rows of numbers."""
    base = load_random_mlp(list(widths), ["no", "yes"], seed=0)
    stages = [
        ManifestStage(name, write_stage(store.blobs, base.chain.stage_tensors(name)).digest)
        for name in base.chain.stage_names
    ]
    return store.publish(Publication(model_id, base.manifest(stages)))


def _tar_info(path: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size = size
    return info
