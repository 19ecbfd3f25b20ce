"""The bases that can be imported: the libraries' official weights, packaged ones, a file of weights, random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from model_store.architectures import Head, HeadKind, build_random, torchvision_architectures
from model_store.bases import folders
from model_store.bases.audio.packaged import AUDIO_WEIGHTS, RANDOM_SPECS
from model_store.bases.base import Base, LoadedBase
from model_store.bases.image import timm_models, torchvision_models
from model_store.bases.image.packaged import IMAGE_WEIGHTS
from model_store.bases.image.torchvision_models import TORCHVISION
from model_store.bases.packaged_weights import PackagedWeights
from model_store.bases.state_dicts import filled, labels_of
from model_store.bases.text.packaged import PACKAGED_TEXT
from model_store.errors import InvalidInput

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
PACKAGED_WEIGHTS: tuple[PackagedWeights, ...] = (*IMAGE_WEIGHTS, *AUDIO_WEIGHTS)


def catalogue() -> list[Base]:
    """Return every base that `load_base` knows, by architecture, torchvision's own first."""
    bases = torchvision_models.bases() + [_packaged_base(packaged) for packaged in PACKAGED_WEIGHTS]
    order = {name: position for position, name in enumerate(torchvision_architectures())}
    networks = sorted(bases, key=lambda base: order.get(base.architecture, len(order)))
    return [*networks, *(each.base() for each in PACKAGED_TEXT)]


def load_base(architecture: str, source: str = TORCHVISION, *, show_progress: bool = False) -> LoadedBase:
    """Load a base of the catalogue; torchvision's weights are downloaded unless cached; a folder is loaded, too.

    Raise BaseUnavailable, with the alternatives, if the weights are not available; InvalidInput for an unknown base.
    """
    if folders.is_one(architecture) and source == TORCHVISION:
        return folders.load_folder(architecture)
    if timm_models.is_one(architecture) and source == TORCHVISION:
        return timm_models.load_from_hub(architecture)
    if source == TORCHVISION and architecture in torchvision_architectures():
        return torchvision_models.load(architecture, show_progress=show_progress)
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
    """Load a .safetensors file or a `weights_only` state dict under the library's names, with or without a head.

    Half-precision tensors become float32. Labels are taken from torchvision where the file is its official one, and are
    the numbers from 0 where nothing names them. Raise InvalidInput or InvalidManifest for a file that does not fit, or
    holds numbers that are not finite.
    """
    load_file = timm_models.load_file if timm_models.is_one(architecture) else torchvision_models.load_file
    return load_file(architecture, path, labels)


def load_tensors(
    architecture: str, tensors: Mapping[str, Tensor], labels: Sequence[str] | None, origin: Mapping[str, str]
) -> LoadedBase:
    """Load a state dict that is in memory, otherwise as `load_weights_file` does."""
    load = timm_models.load_tensors if timm_models.is_one(architecture) else torchvision_models.load_tensors
    return load(architecture, tensors, labels, origin)


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
        input_spec=RANDOM_SPECS.get(architecture) or torchvision_models.input_spec(architecture),
        labels=labels_of(None, head),
        origin={"source": "random", "seed": str(seed)},
    )


def native_head(architecture: str, num_labels: int) -> Head:
    """Return the head that torchvision gives this architecture: none for 0 labels."""
    kind: HeadKind = "conv" if architecture == "squeezenet1_1" else "linear"
    return Head(kind, num_labels) if num_labels else Head("none")


def _packaged_base(packaged: PackagedWeights) -> Base:
    return Base(
        architecture=packaged.architecture,
        source=packaged.distribution,
        licence=packaged.licence,
        download_bytes=packaged.download_bytes,
        num_parameters=packaged.num_parameters,
        input_spec=packaged.input_spec,
        labels=packaged.labels(),
    )


def _load_packaged(packaged: PackagedWeights) -> LoadedBase:
    return LoadedBase(
        architecture=packaged.architecture,
        arguments=packaged.arguments,
        chain=filled(packaged.architecture, packaged.arguments, packaged.head, packaged.load()),
        head=packaged.head,
        input_spec=packaged.input_spec,
        labels=packaged.labels(),
        origin={
            "source": packaged.distribution,
            "package": f"{packaged.distribution}=={packaged.version}",
            "file": packaged.path,
            "sha256": packaged.sha256,
            "licence": packaged.licence,
        },
    )
