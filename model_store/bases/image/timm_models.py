"""timm's models as bases: preprocessing, licence and labels from its own configuration, weights from a file or the hub.

Every base is proved at import: the chain answers as timm's own model with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures import Chain, Head, build_random
from model_store.architectures.libraries import timm_chains
from model_store.architectures.libraries.needed import needed
from model_store.bases.base import LoadedBase
from model_store.bases.hub_files import downloaded
from model_store.bases.image.official_weights import imagenet_labels
from model_store.bases.state_dicts import filled, head_of, labels_of, plain_tensors
from model_store.bases.weights_files import read_weights, sha256_of
from model_store.errors import BaseUnavailable, InvalidInput
from model_store.modalities.batch import Batch
from model_store.modalities.image.fits import CROP, PAD, SQUASH
from model_store.modalities.image.spec import ImageInputSpec

_PREFIX = f"{timm_chains.LIBRARY}:"
_FITS = {"center": CROP, "squash": SQUASH, "border": PAD}
_WEIGHTS = "model.safetensors"
_ROWS = 2
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Published:
    """What timm says of one of its models; `differences` says where our preprocessing is not timm's."""

    name: str
    arguments: Mapping[str, Any]
    input_spec: ImageInputSpec
    labels: tuple[str, ...]
    licence: str
    hub_id: str
    differences: str

    @property
    def architecture(self) -> str:
        """The name in a manifest, without the tag of a set of weights."""
        return f"{_PREFIX}{self.name}"


def is_one(architecture: str) -> bool:
    """Say whether this is the name of a model of timm, such as `timm:resnet10t` or `timm:resnet50.a1_in1k`."""
    return architecture.startswith(_PREFIX)


def published(architecture: str) -> Published:
    """Return what timm says of `timm:NAME` or `timm:NAME.TAG`; raise InvalidInput for an unknown tag or odd images."""
    timm = needed("timm", architecture[:100])
    name, _, tag = architecture.removeprefix(_PREFIX).partition(".")
    timm_chains.check_name(name)
    try:
        config = timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name, allow_unregistered=False)
    except RuntimeError as error:  # timm's own, for an unknown tag or none
        known = ", ".join(timm.list_pretrained(f"{name}.*")) or "none"
        raise InvalidInput.of("architecture", f"timm has no weights {tag[:100]!r} of {name}; it has {known}") from error
    edge = timm_chains.input_edge(name, config.input_size[-1])
    spec, differences = _input_spec(config, edge)
    return Published(
        name=name,
        arguments={timm_chains.SIZE: edge} if config.fixed_input_size else {},
        input_spec=spec,
        labels=_labels(timm, config),
        licence=config.license or "not stated by timm",
        hub_id=config.hf_hub_id or "",
        differences=differences,
    )


def load_tensors(
    architecture: str, tensors: Mapping[str, Tensor], labels: Sequence[str] | None, origin: Mapping[str, str]
) -> LoadedBase:
    """Load a state dict under timm's names; raise InvalidInput or InvalidManifest where it does not fit."""
    said = published(architecture)
    own = _of_state_dict(said, plain_tensors(tensors))
    head = head_of(said.architecture, said.arguments, own)
    chain = filled(said.architecture, said.arguments, head, own)
    _prove(said, chain, own)
    return LoadedBase(
        architecture=said.architecture,
        arguments=said.arguments,
        chain=chain,
        head=head,
        input_spec=said.input_spec,
        labels=labels_of(labels or _fitting(said.labels, head), head, repeats_of=said.labels),
        origin={**origin, **_about(said)},
    )


def load_file(architecture: str, path: Path, labels: Sequence[str] | None) -> LoadedBase:
    """Load a file of weights; raise InvalidInput where it cannot be read, and as `load_tensors` does."""
    origin = {"source": "file", "file": path.name, "sha256": sha256_of(path)}
    return load_tensors(architecture, read_weights(path), labels, origin)


def load_from_hub(architecture: str) -> LoadedBase:
    """Load timm's own weights from the Hugging Face hub, or its cache; raise BaseUnavailable without them."""
    said = published(architecture)
    if not said.hub_id:
        raise BaseUnavailable(
            f"timm has no weights of {architecture} on the hub: import a file of them, --weights FILE"
        )
    file = downloaded(said.hub_id, _WEIGHTS)
    origin = {"source": "timm", "weights": said.hub_id, "sha256": sha256_of(file), "licence": said.licence}
    return load_tensors(architecture, read_weights(file), None, origin)


def load_random(architecture: str, seed: int, num_labels: int) -> LoadedBase:
    """Build a model with timm's own random weights, the same for the same seed; without labels, a backbone only."""
    said = published(architecture)
    head = Head("linear", num_labels) if num_labels else Head("none")
    return LoadedBase(
        architecture=said.architecture,
        arguments=said.arguments,
        chain=build_random(said.architecture, said.arguments, head, seed).eval(),
        head=head,
        input_spec=said.input_spec,
        labels=labels_of(None, head),
        origin={"source": "random", "seed": str(seed), **_about(said)},
    )


def _input_spec(config: Any, edge: int) -> tuple[ImageInputSpec, str]:  # noqa: ANN401  timm carries no types
    """Return the spec that timm's own evaluation transform equals, and in words what differs otherwise.

    https://github.com/huggingface/pytorch-image-models/blob/main/timm/data/transforms_factory.py
    """
    data = needed("timm", "timm").data.resolve_data_config(pretrained_cfg=config.to_dict())
    mode, resized = data["crop_mode"], math.floor(edge / data["crop_pct"])
    interpolation = {"random": "bilinear"}.get(data["interpolation"], data["interpolation"])
    spec = ImageInputSpec(
        resize_size=resized,
        crop_size=edge,
        interpolation=interpolation,
        mean=_three(data["mean"]),
        std=_three(data["std"]),
        fit=_FITS[mode],
    )
    if mode == "center" or (mode == "squash" and resized == edge):
        return spec, ""
    return spec, f"timm resizes to {resized} by {mode!r} and cuts {edge} out; here an image is resized to {edge}"


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _labels(timm: Any, config: Any) -> tuple[str, ...]:  # noqa: ANN401  timm carries no types
    """Return the names of the classes of a set of weights; none where timm does not know them."""
    if config.label_names:
        return tuple(config.label_names)
    if config.num_classes == len(imagenet_labels()):
        return imagenet_labels()
    subset = timm.data.infer_imagenet_subset(config.to_dict())
    return tuple(timm.data.ImageNetInfo(subset).label_names()) if subset else ()


def _fitting(labels: tuple[str, ...], head: Head) -> tuple[str, ...] | None:
    """Return the published labels where the head has as many outputs: else it is of another data set."""
    return labels if len(labels) == head.outputs else None


def _of_state_dict(said: Published, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the buffers that timm computes by itself: files of its earlier releases still have them."""
    model = _own_model(said, 1)
    computed = {name for name, _ in model.named_buffers()} - model.state_dict().keys()
    return {name: tensor for name, tensor in tensors.items() if name not in computed}


def _prove(said: Published, chain: Chain, tensors: Mapping[str, Tensor]) -> None:
    """Raise InvalidInput unless the chain gives what timm's own model gives for random rows."""
    classes = 0 if chain.head is None else len(next(iter(chain.stage_tensors("head").values())))
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        model = timm_chains.timm_model(said.name, said.arguments, classes or 1).eval()
    model.load_state_dict(dict(tensors), strict=bool(classes))
    edge = said.input_spec.crop_size
    rows = torch.randn(_ROWS, 3, edge, edge, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model(rows) if classes else _embedded(model, rows)
        found = chain(Batch.of(rows))
    difference = (wanted - found).abs().max()
    if not difference <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise InvalidInput.of(
            "architecture", f"{said.architecture}, cut into stages, answers otherwise than timm's own, by {difference}"
        )


def _embedded(model: Any, rows: Tensor) -> Tensor:  # noqa: ANN401  timm carries no types
    embedding: Tensor = model.forward_head(model.forward_features(rows), pre_logits=True)
    return embedding


def _own_model(said: Published, num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return timm_chains.timm_model(said.name, said.arguments, num_classes)


def _about(said: Published) -> dict[str, str]:
    """Return what to remember of timm's own words: the licence is that of its weights, not of another's file."""
    about = {"library": f"timm {needed('timm', said.architecture).__version__}", "published_licence": said.licence}
    return about | ({"preprocessing": said.differences} if said.differences else {})
