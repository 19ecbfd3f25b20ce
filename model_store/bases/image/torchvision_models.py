"""torchvision's models as bases: its official weights, files under its names of tensors, and input specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from model_store.architectures import torchvision_architectures
from model_store.architectures.vision import rename_legacy
from model_store.bases.base import Base, LoadedBase
from model_store.bases.image.official_weights import download, is_official, licence, official_weights
from model_store.bases.state_dicts import filled, head_of, labels_of, plain_tensors
from model_store.bases.weights_files import read_weights, sha256_of
from model_store.modalities.image.spec import ImageInputSpec, spec_of_transforms

TORCHVISION = "torchvision"
_MEBIBYTE = 1024 * 1024  # torchvision's `_file_size` counts in these


def bases() -> list[Base]:
    """Return torchvision's models with official weights."""
    return list(map(_base, torchvision_architectures()))


def load(architecture: str, *, show_progress: bool) -> LoadedBase:
    """Load the official weights, downloaded unless cached; raise BaseUnavailable where they cannot be had."""
    return load_file(architecture, download(official_weights(architecture), show_progress=show_progress), None)


def load_file(architecture: str, path: Path, labels: Sequence[str] | None) -> LoadedBase:
    """Load a file of weights; an official one brings its labels. Raises as `load_tensors` does."""
    weights = official_weights(architecture)
    tensors = read_weights(path)
    origin = {"source": "file", "file": path.name, "sha256": sha256_of(path)}
    if is_official(weights, origin["sha256"]):
        origin |= {"source": TORCHVISION, "weights": str(weights), "url": weights.url, "licence": licence(weights)}
        labels = labels or weights.meta["categories"]
    return load_tensors(architecture, tensors, labels, origin)


def load_tensors(
    architecture: str, tensors: Mapping[str, Tensor], labels: Sequence[str] | None, origin: Mapping[str, str]
) -> LoadedBase:
    """Load a state dict under torchvision's names; raise InvalidInput or InvalidManifest where it does not fit."""
    weights = official_weights(architecture)
    tensors = rename_legacy(plain_tensors(tensors))
    head = head_of(architecture, {}, tensors)
    return LoadedBase(
        architecture=architecture,
        arguments={},
        chain=filled(architecture, {}, head, tensors),
        head=head,
        input_spec=input_spec(architecture),
        labels=labels_of(labels, head, repeats_of=weights.meta["categories"]),
        origin=origin,
    )


def input_spec(architecture: str) -> ImageInputSpec:
    """Return the preprocessing of the official weights; raise InvalidInput for a model without any."""
    return spec_of_transforms(official_weights(architecture).transforms())


def _base(architecture: str) -> Base:
    weights = official_weights(architecture)
    return Base(
        architecture=architecture,
        source=TORCHVISION,
        licence=licence(weights),
        download_bytes=round(weights.meta["_file_size"] * _MEBIBYTE),
        num_parameters=weights.meta["num_params"],
        input_spec=input_spec(architecture),
        labels=tuple(weights.meta["categories"]),
    )
