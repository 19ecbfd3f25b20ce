"""The bases that can be imported: torchvision's official weights, packaged ones, a file of weights, random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from model_store.architectures import Head, HeadKind, build_random, torchvision_architectures
from model_store.architectures.vision import rename_legacy
from model_store.bases import folders, timm_models
from model_store.bases.audio.packaged import AUDIO_WEIGHTS, RANDOM_SPECS
from model_store.bases.base import Base, LoadedBase
from model_store.bases.official_weights import (
    download,
    imagenet_labels,
    is_official,
    licence,
    official_weights,
    sha256_of,
)
from model_store.bases.packaged_text import PACKAGED_TEXT
from model_store.bases.packaged_weights import PACKAGED_WEIGHTS as IMAGE_WEIGHTS
from model_store.bases.packaged_weights import PackagedWeights
from model_store.bases.state_dicts import filled, head_of, labels_of, plain_tensors
from model_store.bases.weights_files import read_weights
from model_store.errors import InvalidInput
from model_store.modalities.image.spec import spec_of_transforms

__all__ = [
    "TORCHVISION",
    "Base",
    "LoadedBase",
    "catalogue",
    "load_base",
    "load_random",
    "load_tensors",
    "load_weights_file",
    "native_head",
]
TORCHVISION = "torchvision"
PACKAGED_WEIGHTS = (*IMAGE_WEIGHTS, *AUDIO_WEIGHTS)
_MEBIBYTE = 1024 * 1024  # torchvision's `_file_size` counts in these


def catalogue() -> list[Base]:
    """Return every base that `load_base` knows, by architecture, torchvision's own first."""
    bases = [_torchvision_base(name) for name in torchvision_architectures()]
    bases += [_packaged_base(packaged) for packaged in PACKAGED_WEIGHTS]
    order = {name: position for position, name in enumerate(torchvision_architectures())}
    images = sorted(bases, key=lambda base: order.get(base.architecture, len(order)))
    return [*images, *(each.base() for each in PACKAGED_TEXT)]


def load_base(architecture: str, source: str = TORCHVISION, *, show_progress: bool = False) -> LoadedBase:
    """Load a base of the catalogue; torchvision's weights are downloaded unless cached; a folder is loaded, too.

    Raise BaseUnavailable, with the alternatives, if the weights are not available; InvalidInput for an unknown base.
    """
    if folders.is_one(architecture) and source == TORCHVISION:
        return folders.load_folder(architecture)
    if timm_models.is_one(architecture) and source == TORCHVISION:
        return timm_models.load_from_hub(architecture)
    if source == TORCHVISION and architecture in torchvision_architectures():
        file = download(official_weights(architecture), show_progress=show_progress)
        return load_weights_file(architecture, file)
    for packaged in PACKAGED_WEIGHTS:
        if (packaged.architecture, packaged.distribution) == (architecture, source):
            return _load_packaged(packaged)
    for folder in PACKAGED_TEXT:
        if (folder.architecture, folder.distribution) == (architecture, source):
            return folder.load()
    known = ", ".join(base.source for base in catalogue() if base.architecture == architecture)
    if not known:
        there = f"there is no base {architecture[:100]!r}, and no such folder: `maas bases` lists the bases"
        raise InvalidInput.of("architecture", there)
    raise InvalidInput.of("source", f"{source!r} has no {architecture!r}; it can come from: {known}")


def load_weights_file(architecture: str, path: Path, labels: Sequence[str] | None = None) -> LoadedBase:
    """Load a .safetensors file or a `weights_only` state dict under torchvision's names, with or without a head.

    Half-precision tensors become float32. Labels are taken from torchvision where the file is its official one, and are
    the numbers from 0 where nothing names them. Raise InvalidInput or InvalidManifest for a file that does not fit, or
    holds numbers that are not finite.
    """
    weights = None if timm_models.is_one(architecture) else official_weights(architecture)
    tensors = read_weights(path)
    origin = {"source": "file", "file": path.name, "sha256": sha256_of(path)}
    if weights is None:
        return timm_models.load_tensors(architecture, tensors, labels, origin)
    if is_official(weights, origin["sha256"]):
        origin |= {"source": TORCHVISION, "weights": str(weights), "url": weights.url, "licence": licence(weights)}
        labels = labels or weights.meta["categories"]
    return load_tensors(architecture, tensors, labels, origin)


def load_tensors(
    architecture: str, tensors: Mapping[str, Tensor], labels: Sequence[str] | None, origin: Mapping[str, str]
) -> LoadedBase:
    """Load a state dict that is in memory, otherwise as `load_weights_file` does."""
    if timm_models.is_one(architecture):
        return timm_models.load_tensors(architecture, tensors, labels, origin)
    weights = official_weights(architecture)
    tensors = rename_legacy(plain_tensors(tensors))
    head = head_of(architecture, {}, tensors)
    return LoadedBase(
        architecture=architecture,
        arguments={},
        chain=filled(architecture, {}, head, tensors),
        head=head,
        input_spec=spec_of_transforms(weights.transforms()),
        labels=labels_of(labels, head, repeats_of=weights.meta["categories"]),
        origin=origin,
    )


def load_random(architecture: str, seed: int, num_labels: int = 0) -> LoadedBase:
    """Build a randomly initialised base, the same for the same seed; without labels, a backbone only."""
    if timm_models.is_one(architecture):
        return timm_models.load_random(architecture, seed, num_labels)
    head = native_head(architecture, num_labels)
    return LoadedBase(
        architecture=architecture,
        arguments={},
        chain=build_random(architecture, {}, head, seed).eval(),
        head=head,
        input_spec=RANDOM_SPECS.get(architecture) or spec_of_transforms(official_weights(architecture).transforms()),
        labels=labels_of(None, head),
        origin={"source": "random", "seed": str(seed)},
    )


def native_head(architecture: str, num_labels: int) -> Head:
    """Return the head that torchvision gives this architecture: none for 0 labels."""
    kind: HeadKind = "conv" if architecture == "squeezenet1_1" else "linear"
    return Head(kind, num_labels) if num_labels else Head("none")


def _torchvision_base(architecture: str) -> Base:
    weights = official_weights(architecture)
    return Base(
        architecture=architecture,
        source=TORCHVISION,
        licence=licence(weights),
        download_bytes=round(weights.meta["_file_size"] * _MEBIBYTE),
        num_parameters=weights.meta["num_params"],
        input_spec=spec_of_transforms(weights.transforms()),
        labels=tuple(weights.meta["categories"]),
    )


def _packaged_base(packaged: PackagedWeights) -> Base:
    return Base(
        architecture=packaged.architecture,
        source=packaged.distribution,
        licence=packaged.licence,
        download_bytes=packaged.download_bytes,
        num_parameters=packaged.num_parameters,
        input_spec=packaged.input_spec,
        labels=_packaged_labels(packaged),
    )


def _load_packaged(packaged: PackagedWeights) -> LoadedBase:
    return LoadedBase(
        architecture=packaged.architecture,
        arguments=packaged.arguments,
        chain=filled(packaged.architecture, packaged.arguments, packaged.head, packaged.load()),
        head=packaged.head,
        input_spec=packaged.input_spec,
        labels=_packaged_labels(packaged),
        origin={
            "source": packaged.distribution,
            "package": f"{packaged.distribution}=={packaged.version}",
            "file": packaged.path,
            "sha256": packaged.sha256,
            "licence": packaged.licence,
        },
    )


def _packaged_labels(packaged: PackagedWeights) -> tuple[str, ...]:
    """Return torchvision's 1,000 names for a head: Caffe and TensorFlow have the same order of classes."""
    return imagenet_labels() if packaged.head.outputs else ()
