"""torchvision's classifiers, each cut into a chain of stages.

The cuts follow resolution: `stem`, then `layer1` … `layer4`, each of which starts where the feature map halves (a group
of three blocks in ViT, whose resolution never changes). So "train the last stage" means about the same share of every
network, and two fine-tunes share about as much. `pool` has no tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures.chain import HEAD, Chain, Stages, Step
from model_store.architectures.head import Head
from model_store.errors import InvalidManifest
from model_store.modalities.batch import EMBEDDING
from model_store.modalities.spec import InputSpec

# Where in `features` each of stem, layer1, layer2 … begins.
_FEATURE_CUTS = {
    "mobilenet_v2": (0, 2, 4, 7, 14),
    "mobilenet_v3_small": (0, 1, 2, 4, 9),
    "mobilenet_v3_large": (0, 2, 4, 7, 13),
    "squeezenet1_1": (0, 3, 5, 8),
    "efficientnet_b0": (0, 2, 3, 4, 6),
    "efficientnet_b1": (0, 2, 3, 4, 6),
    "efficientnet_v2_s": (0, 2, 3, 4, 6),
    "convnext_tiny": (0, 1, 2, 4, 6),
    "convnext_small": (0, 1, 2, 4, 6),
    "convnext_base": (0, 1, 2, 4, 6),
    "swin_t": (0, 1, 2, 4, 6),
}
MODALITY = "image"
_SIZE = "image_size"  # the one argument
_PATCH_SIZE = 16
_VIT_GROUP = 3
_MAX_SIZE = 1024  # of a ViT: the tokens, and so the memory, grow with its square
_NUM_CLASSES = 1000  # torchvision's own default

# Published checkpoints of DenseNet and ViT still carry the names of older torchvision releases.
_LEGACY_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)


class PatchTokens(nn.Module):
    """ViT's input: patches projected to tokens behind a class token, plus position embeddings."""

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.class_token = vit.get_parameter("class_token")
        self.conv_proj = vit.get_submodule("conv_proj")
        # Only a holder: the parameter's published name is `encoder.pos_embedding`.
        self.encoder = nn.Module()
        self.encoder.pos_embedding = vit.get_parameter("encoder.pos_embedding")

    def forward(self, x: Tensor) -> Tensor:
        """Turn [n, 3, size, size] into tokens [n, 1 + (size / 16) squared, d]."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        class_token = self.class_token.expand(x.shape[0], -1, -1)
        return torch.cat([class_token, patches], dim=1) + self.encoder.get_parameter("pos_embedding")


class FirstToken(nn.Module):
    """Keep the class token: [n, tokens, d] to [n, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the first token of each row."""
        return x[:, 0]


class MeanBeside(nn.Module):
    """Write the mean of a feature map as the embedding, and leave the map to the head: [n, d, h, w] to [n, d]."""

    writes = (EMBEDDING,)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over space."""
        return x.mean(dim=(2, 3))


def _resnet(model: nn.Module, _name: str, _head: Head) -> Stages:
    return [
        ("stem", _steps(model, "conv1", "bn1", "relu", "maxpool")),
        *((layer, _steps(model, layer)) for layer in ("layer1", "layer2", "layer3", "layer4")),
        ("pool", _pool()),
        (HEAD, _steps(model, "fc")),
    ]


def _dropout_and_linear(model: nn.Module, name: str, _head: Head) -> Stages:
    """Cut MobileNetV2 and EfficientNet, whose classifiers are dropout and one linear layer."""
    return [*_features(model, name), ("pool", _pool()), (HEAD, _steps(model, "classifier.0", "classifier.1"))]


def _mobilenet_v3(model: nn.Module, name: str, _head: Head) -> Stages:
    return [
        *_features(model, name),
        ("pool", _pool()),
        ("hidden", _steps(model, "classifier.0", "classifier.1")),
        (HEAD, _steps(model, "classifier.2", "classifier.3")),
    ]


def _squeezenet(model: nn.Module, name: str, head: Head) -> Stages:
    """Cut SqueezeNet; a linear head is ours, as torchvision has none: the mean first, then one layer."""
    features = _features(model, name)
    if head.kind == "conv":
        classifier = _steps(model, *(f"classifier.{i}" for i in range(4)))
        return [*features, ("mean", MeanBeside()), (HEAD, [*classifier, ("flatten", nn.Flatten(1))])]
    linear = ("classifier.1", nn.Linear(512, head.outputs or _NUM_CLASSES))
    return [*features, ("pool", _pool()), (HEAD, [*_steps(model, "classifier.0"), linear])]


def _convnext(model: nn.Module, name: str, _head: Head) -> Stages:
    return [
        *_features(model, name),
        ("pool", _steps(model, "avgpool")),
        ("norm", _steps(model, "classifier.0", "classifier.1")),
        (HEAD, _steps(model, "classifier.2")),
    ]


def _regnet(model: nn.Module, _name: str, _head: Head) -> Stages:
    return [
        ("stem", _steps(model, "stem")),
        *((f"layer{i}", _steps(model, f"trunk_output.block{i}")) for i in range(1, 5)),
        ("pool", _pool()),
        (HEAD, _steps(model, "fc")),
    ]


def _densenet(model: nn.Module, _name: str, _head: Head) -> Stages:
    middle = [(i, f"features.denseblock{i}", f"features.transition{i}") for i in range(1, 4)]
    return [
        ("stem", _steps(model, *(f"features.{part}0" for part in ("conv", "norm", "relu", "pool")))),
        *((f"layer{i}", _steps(model, block, transition)) for i, block, transition in middle),
        ("layer4", [*_steps(model, "features.denseblock4", "features.norm5"), ("relu", nn.ReLU())]),
        ("pool", _pool()),
        (HEAD, _steps(model, "classifier")),
    ]


def _vit(model: nn.Module, _name: str, _head: Head) -> Stages:
    blocks = [f"encoder.layers.{block}" for block, _ in model.get_submodule("encoder.layers").named_children()]
    groups = [blocks[start : start + _VIT_GROUP] for start in range(0, len(blocks), _VIT_GROUP)]
    return [
        ("stem", PatchTokens(model)),
        *((f"layer{i}", _steps(model, *group)) for i, group in enumerate(groups, start=1)),
        ("norm", [*_steps(model, "encoder.ln"), ("first_token", FirstToken())]),
        (HEAD, _steps(model, "heads.head")),
    ]


def _swin(model: nn.Module, name: str, _head: Head) -> Stages:
    return [
        *_features(model, name),
        ("norm", _steps(model, "norm")),
        ("pool", _steps(model, "permute", "avgpool", "flatten")),
        (HEAD, _steps(model, "head")),
    ]


def _features(model: nn.Module, name: str) -> list[tuple[str, list[Step]]]:
    blocks = [f"features.{block}" for block, _ in model.get_submodule("features").named_children()]
    starts = _FEATURE_CUTS[name]
    ends = (*starts[1:], len(blocks))
    stages = ["stem", *(f"layer{i}" for i in range(1, len(starts)))]
    return [(stage, _steps(model, *blocks[start:end])) for stage, start, end in zip(stages, starts, ends, strict=True)]


def _steps(model: nn.Module, *paths: str) -> list[Step]:
    return [(path, model.get_submodule(path)) for path in paths]


def _pool() -> list[Step]:
    return [("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten(1))]


_CUTS: dict[str, Callable[[nn.Module, str, Head], Stages]] = {
    "resnet18": _resnet,
    "resnet34": _resnet,
    "resnet50": _resnet,
    "resnet101": _resnet,
    "mobilenet_v2": _dropout_and_linear,
    "mobilenet_v3_small": _mobilenet_v3,
    "mobilenet_v3_large": _mobilenet_v3,
    "squeezenet1_1": _squeezenet,
    "efficientnet_b0": _dropout_and_linear,
    "efficientnet_b1": _dropout_and_linear,
    "efficientnet_v2_s": _dropout_and_linear,
    "convnext_tiny": _convnext,
    "convnext_small": _convnext,
    "convnext_base": _convnext,
    "regnet_y_400mf": _regnet,
    "regnet_y_1_6gf": _regnet,
    "densenet121": _densenet,
    "vit_b_16": _vit,
    "swin_t": _swin,
}


def _build(name: str, arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build one classifier as torchvision does, then cut it.

    Tensors come from the ambient device and random numbers. `vit_b_16` takes an argument, the size (224 without it).
    """
    _check_arguments(name, arguments)
    if head.kind == "conv" and name != "squeezenet1_1":
        raise InvalidManifest(f"head.kind 'conv' is squeezenet1_1's own; {name} takes 'linear' or 'none'")
    model = _torchvision_model(name, num_classes=head.outputs or _NUM_CLASSES, **arguments)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.inplace = False  # a head that begins with dropout would write into cached embeddings
    stages = _CUTS[name](model, name, head)
    size = _embedding_size(dict(stages)[HEAD])
    return Chain([stage for stage in stages if head.kind != "none" or stage[0] != HEAD], size)


def check_input(_: Mapping[str, Any], __: InputSpec) -> None:
    """Take any spec of the modality: these networks end in a mean over space."""


def _embedding_size(head: nn.Module | Sequence[Step]) -> int:
    """Return the input size of the last layer of a head."""
    modules = [head] if isinstance(head, nn.Module) else [step for _, step in reversed(head)]
    layers = (layer for module in modules for layer in module.modules())
    return next(int(layer.weight.shape[1]) for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d))


def _torchvision_model(name: str, **arguments: Any) -> nn.Module:  # noqa: ANN401  as torchvision takes them
    # Late: a service listens sooner without it, and one of vectors needs none.
    from model_store.architectures.torchvision_compat import torchvision  # noqa: PLC0415

    device = torch.get_default_device()
    # RegNet computes its widths with tensors, and those have no values on the meta device.
    with torch.device("cpu" if name.startswith("regnet") else device):
        model: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    return model.to(device)


def _check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    allowed = {_SIZE} if name == "vit_b_16" else set()
    if unknown := set(arguments) - allowed:
        raise InvalidManifest(f"architecture {name} has no argument {', '.join(sorted(unknown))}")
    size = arguments.get(_SIZE, _PATCH_SIZE)
    if type(size) is not int or size <= 0 or size % _PATCH_SIZE or size > _MAX_SIZE:
        raise InvalidManifest(f"{_SIZE} must be a multiple of {_PATCH_SIZE}, at most {_MAX_SIZE}, not {size!r}")


def rename_legacy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint's tensors under the names that torchvision gives them today."""
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    for pattern, replacement in _LEGACY_NAMES:
        name = pattern.sub(replacement, name)
    return name


def torchvision_architectures() -> tuple[str, ...]:
    """Return the names of torchvision's networks, related ones together."""
    return tuple(_CUTS)


BUILDERS = {name: partial(_build, name) for name in _CUTS}
