"""timm's classifiers of pictures, each cut into a chain: `timm:resnet10t` is the architecture.

https://huggingface.co/docs/timm. The cut is found by running a model without memory: the modules by which
`forward_features` ends, where each takes the tensor of the one before it, become `layer1` …; what comes before them is
`stem`. Where they are not so, all of it is one stage, `features`. `pool` is `forward_head` without the classifier.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures.chain import HEAD, Chain, nest
from model_store.architectures.head import Head
from model_store.architectures.libraries.empty_models import built
from model_store.architectures.libraries.linked_modules import (
    Trace,
    grouped,
    inside,
    linked,
    num_matrices,
    part_of,
    traced,
    without_own_tensors,
    writes_nowhere,
)
from model_store.architectures.libraries.needed import needed
from model_store.architectures.vision import MODALITY
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

LIBRARY = "timm"
SIZE = "img_size"  # the one argument
_MAX_SIZE = 1024
_NUM_CLASSES = 1000  # of a model that is built for its backbone
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
_STEM = re.compile(r"(stem|conv|patch)")  # begins the names of modules before the first block
_MAX_LAYERS = 8


@dataclass(frozen=True)
class Plan:
    """Where a model is cut, by the paths of its modules.

    `layers` has the modules of each layer, none where `forward_features` stays whole. `at_head` are the modules that
    `forward_head` alone calls, `classifier` its last.
    """

    layers: tuple[tuple[str, ...], ...]
    at_head: tuple[str, ...]
    classifier: str


def modality(_: str) -> str:
    """Return the modality of all of them."""
    return MODALITY


def check_input(_: str, arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest where a model of a fixed size gets rows of another."""
    size, found = arguments.get(SIZE), spec.to_json()["crop_size"]
    if size not in {None, found}:
        raise InvalidManifest(f"input_spec.crop_size must be {size}, the argument {SIZE}, not {found}")


def build(name: str, arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build a model as timm does, then cut it; tensors come from the ambient device and random numbers.

    Raise InvalidManifest for an unknown model or argument, and one that cannot be cut, ExtraMissing without timm.
    """
    if head.kind not in {"linear", "none"}:
        raise InvalidManifest(f"timm's models take a head 'linear' or 'none', not {head.kind!r}")
    plan = plan_of(name, arguments.get(SIZE))
    model = writes_nowhere(timm_model(name, arguments, head.outputs or _NUM_CLASSES))
    classifier = model.get_submodule(plan.classifier)
    backbone = _backbone(model, plan)
    stages = backbone if head.kind == "none" else [*backbone, (HEAD, nest([(plan.classifier, classifier)]))]
    return Chain(stages, int(classifier.get_parameter("weight").shape[1]))


def check_name(name: str) -> None:
    """Raise InvalidManifest for a model that timm has not."""
    timm = needed("timm", f"timm:{name[:100]}")
    if not _NAME.fullmatch(name) or not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name[:100], timm.list_models(), 3))
        raise InvalidManifest(f"timm {timm.__version__} has no model {name[:100]!r}{near and f'; near are {near}'}")


def timm_model(name: str, arguments: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Return timm's own model, with random weights; on the meta device without memory."""
    _check(name, arguments)
    timm = needed("timm", f"timm:{name}")
    return built(lambda: timm.create_model(name, pretrained=False, num_classes=num_classes, **arguments))


def input_edge(name: str, size: int | None) -> int:
    """Return the height and width of the pictures that a model is built for; raise InvalidManifest for other shapes."""
    channels, height, width = needed("timm", f"timm:{name}").get_pretrained_cfg(name).input_size
    if channels != 3 or height != width:
        raise InvalidManifest(f"timm:{name} takes {channels} x {height} x {width}, and not square RGB")
    return size or int(height)


@lru_cache(maxsize=64)
def plan_of(name: str, size: int | None) -> Plan:
    """Return where a model is cut; raise InvalidManifest where its answers do not end in one linear classifier."""
    arguments = {} if size is None else {SIZE: size}
    with torch.device("meta"):
        model = timm_model(name, arguments, _NUM_CLASSES).to("meta").eval()
    classifier = _classifier(name, model)
    rows = torch.empty(2, 3, *(2 * [input_edge(name, size)]), device="meta")
    with torch.no_grad():
        with traced(model) as in_features:
            features = model.forward_features(rows)  # type: ignore[operator]
        if not isinstance(features, Tensor):
            raise InvalidManifest(f"timm:{name} passes several tensors from its features to its head")
        with traced(model) as in_head:
            embedding = model.forward_head(features, pre_logits=True)  # type: ignore[operator]
    width = model.get_submodule(classifier).get_parameter("weight").shape[1]
    if embedding.shape != (2, width):
        raise InvalidManifest(f"timm:{name} gives its classifier {list(embedding.shape[1:])}, not one row of numbers")
    called = {_top(path) for path in in_features.called}
    at_head = {_top(path) for path in (*in_head.called, classifier)} - called
    return Plan(_layers(model, in_features, rows, features), tuple(sorted(at_head)), classifier)


def _classifier(name: str, model: nn.Module) -> str:
    """Return the path of the last linear layer."""
    has_head = "pre_logits" in inspect.signature(getattr(model, "forward_head", lambda: None)).parameters
    layer = model.get_classifier() if has_head else None  # type: ignore[operator]
    paths = [path for path, module in model.named_modules() if module is layer and isinstance(layer, nn.Linear)]
    if not paths:
        raise InvalidManifest(f"timm:{name} does not end in one linear classifier behind its pooled features")
    found: str = paths[0]
    return found


def _layers(model: nn.Module, trace: Trace, start: Tensor, end: Tensor) -> tuple[tuple[str, ...], ...]:
    calls = linked(trace, start, end)
    paths: list[str] = []
    for call in calls:
        module = model.get_submodule(call.path)
        is_most = 2 * num_matrices(module) > num_matrices(model)
        inner = inside(trace, call) if isinstance(module, nn.Sequential) and is_most else []
        paths += [each.path for each in inner] or [call.path]
    blocks = [path for path in paths if num_matrices(model.get_submodule(path)) > 1 and not _STEM.match(path)]
    if len(blocks) < 2:
        return ()
    groups = grouped(blocks, _MAX_LAYERS)
    starts = [paths.index(group[0]) for group in groups]
    return tuple(tuple(paths[a:b]) for a, b in zip(starts, [*starts[1:], len(paths)], strict=True))


def _backbone(model: nn.Module, plan: Plan) -> list[tuple[str, nn.Module]]:
    """Return the stages before the classifier."""
    in_layers = [path for layer in plan.layers for path in layer]
    first = part_of(model, _features, [*in_layers, *plan.at_head])
    features = {_top(path) for path, _ in model.named_modules() if path} - set(plan.at_head)
    pool = without_own_tensors(part_of(model, _pooled, [*sorted(features), plan.classifier]))
    return [
        ("stem" if plan.layers else "features", first),
        *(
            (f"layer{number}", nest([(path, model.get_submodule(path)) for path in layer]))
            for number, layer in enumerate(plan.layers, start=1)
        ),
        ("pool", pool),
    ]


def _features(model: nn.Module, x: Tensor) -> Tensor:
    features: Tensor = model.forward_features(x)  # type: ignore[operator]
    return features


def _pooled(model: nn.Module, features: Tensor) -> Tensor:
    pooled: Tensor = model.forward_head(features, pre_logits=True)  # type: ignore[operator]
    return pooled


def _top(path: str) -> str:
    return path.partition(".")[0]


def _check(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise InvalidManifest for a model that timm has not, and for anything but a size as argument."""
    check_name(name)
    if unknown := set(arguments) - {SIZE}:
        raise InvalidManifest(f"architecture timm:{name} has no argument {', '.join(sorted(unknown))}")
    size = arguments.get(SIZE, 1)
    if type(size) is not int or not 0 < size <= _MAX_SIZE:
        raise InvalidManifest(f"{SIZE} must be an integer in 1..{_MAX_SIZE}, not {size!r}")
