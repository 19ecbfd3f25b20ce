"""The bases that can be imported: torchvision's official weights, packaged ones, a file of weights, random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from model_store.architectures import (
    HEAD,
    Chain,
    Head,
    HeadKind,
    build,
    build_random,
    check_stage_tensors,
    torchvision_architectures,
)
from model_store.architectures.vision import rename_legacy
from model_store.bases.base import Base, LoadedBase
from model_store.bases.official_weights import download, is_official, licence, official_weights, sha256_of
from model_store.bases.packaged_text import PACKAGED_TEXT
from model_store.bases.packaged_weights import PACKAGED_WEIGHTS, PackagedWeights
from model_store.bases.weights_files import read_weights, state_dict_in, without_prefixes
from model_store.errors import InvalidInput
from model_store.labels import check_labels
from model_store.modalities.image.spec import spec_of_transforms
from model_store.tensors.stages import check_finite

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
_MEBIBYTE = 1024 * 1024  # torchvision's `_file_size` counts in these
_COUNTER = "num_batches_tracked"  # of BatchNorm; files from before PyTorch 0.4.1 have none


def catalogue() -> list[Base]:
    """Return every base that `load_base` knows, by architecture, torchvision's own first."""
    bases = [_torchvision_base(name) for name in torchvision_architectures()]
    bases += [_packaged_base(packaged) for packaged in PACKAGED_WEIGHTS]
    order = {name: position for position, name in enumerate(torchvision_architectures())}
    return [*sorted(bases, key=lambda base: order[base.architecture]), *(each.base() for each in PACKAGED_TEXT)]


def load_base(architecture: str, source: str = TORCHVISION, *, show_progress: bool = False) -> LoadedBase:
    """Load a base of the catalogue; torchvision's weights are downloaded unless they are cached.

    Raise BaseUnavailable, with the alternatives, if the weights are not available; InvalidInput for an unknown base.
    """
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
    raise InvalidInput.of("source", f"{source!r} has no {architecture!r}; it can come from: {known or 'nowhere'}")


def load_weights_file(architecture: str, path: Path, labels: Sequence[str] | None = None) -> LoadedBase:
    """Load a .safetensors file or a `weights_only` state dict under torchvision's names, with or without a head.

    Half-precision tensors become float32. Labels are taken from torchvision where the file is its official one, and are
    the numbers from 0 where nothing names them. Raise InvalidInput or InvalidManifest for a file that does not fit, or
    holds numbers that are not finite.
    """
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
    """Load a state dict that is in memory, otherwise as `load_weights_file` does."""
    weights = official_weights(architecture)
    tensors = without_prefixes(state_dict_in("the mapping", tensors))
    tensors = rename_legacy({name: _as_float32(tensor) for name, tensor in tensors.items()})
    head = _head_of(architecture, tensors)
    return LoadedBase(
        architecture=architecture,
        arguments={},
        chain=_filled(architecture, head, tensors),
        head=head,
        input_spec=spec_of_transforms(weights.transforms()),
        labels=_labels(labels, head, repeats_of=weights.meta["categories"]),
        origin=origin,
    )


def load_random(architecture: str, seed: int, num_labels: int = 0) -> LoadedBase:
    """Build a randomly initialised base, the same for the same seed; without labels, a backbone only."""
    head = native_head(architecture, num_labels)
    return LoadedBase(
        architecture=architecture,
        arguments={},
        chain=build_random(architecture, {}, head, seed).eval(),
        head=head,
        input_spec=spec_of_transforms(official_weights(architecture).transforms()),
        labels=_labels(None, head),
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
    chain = build(packaged.architecture, {}, packaged.head)
    return Base(
        architecture=packaged.architecture,
        source=packaged.distribution,
        licence=packaged.licence,
        download_bytes=packaged.size_bytes,
        num_parameters=sum(parameter.numel() for parameter in chain.parameters()),
        input_spec=packaged.input_spec,
        labels=_packaged_labels(packaged),
    )


def _load_packaged(packaged: PackagedWeights) -> LoadedBase:
    return LoadedBase(
        architecture=packaged.architecture,
        arguments={},
        chain=_filled(packaged.architecture, packaged.head, packaged.load()),
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
    """Return torchvision's 1,000 names for a head: Caffe has the same order of classes."""
    weights = official_weights(packaged.architecture)
    return tuple(weights.meta["categories"]) if packaged.head.outputs else ()


def _as_float32(tensor: Tensor) -> Tensor:
    converted = tensor.detach().float() if tensor.is_floating_point() else tensor
    return converted.contiguous()


def _head_of(architecture: str, tensors: Mapping[str, Tensor]) -> Head:
    template = build(architecture, {}, Head("linear", 1)).stage_tensors(HEAD)
    weight = next((tensors[name] for name in template if name.endswith(".weight") and name in tensors), None)
    if weight is None:
        return Head("none")
    return Head("conv" if weight.ndim == 4 else "linear", weight.shape[0])


def _filled(architecture: str, head: Head, tensors: Mapping[str, Tensor]) -> Chain:
    chain = build(architecture, {}, head)
    _check_complete(architecture, chain, tensors)
    chain.load_state_dict_torchvision(tensors)
    for name in chain.stage_names:
        stage = chain.stage_tensors(name)
        forms = {key: (tensor.shape, tensor.dtype) for key, tensor in stage.items()}
        check_stage_tensors(architecture, {}, head, name, forms)
        check_finite(name, stage)
    return chain.eval()


def _check_complete(architecture: str, chain: Chain, tensors: Mapping[str, Tensor]) -> None:
    """Raise InvalidInput where tensors are missing: most often the file is another architecture's."""
    wanted = chain.state_dict_torchvision()
    missing = [name for name in wanted if name not in tensors and not name.endswith(_COUNTER)]
    if missing:
        others = [name for name in tensors if name not in wanted][:1]
        found = f", and have others, such as {others[0][:60]!r}" if others else ""
        raise InvalidInput.of(
            "weights",
            f"lack {len(missing)} of the tensors of {architecture}, such as {missing[0]!r}{found}: name the "
            "architecture that they were saved from, under torchvision's names of its tensors",
        )


def _labels(labels: Sequence[str] | None, head: Head, repeats_of: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the labels of a head; of torchvision's 1,000, two pairs have one name."""
    if not labels:
        return tuple(str(number) for number in range(head.outputs))
    if tuple(labels) != tuple(repeats_of):
        check_labels(labels)
    if len(labels) != head.outputs:
        found = f"a head of {head.outputs} outputs" if head.outputs else "weights without a head"
        advice = "give one for each output, in order" if head.outputs else "give none"
        raise InvalidInput.of("labels", f"there are {len(labels)} labels for {found}: {advice}")
    return tuple(labels)
