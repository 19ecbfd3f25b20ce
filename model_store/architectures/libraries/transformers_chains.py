"""Encoders by transformers' own modules, each cut into a chain: `transformers:vit` is the architecture.

https://huggingface.co/docs/transformers. The arguments hold the configuration, as data: which class is built follows
from this module's table alone, and no code but the library's runs. `stem` is all before the layers, `layer1` … are the
layers in groups with the norm behind them, `pool` turns tokens into the embedding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures.chain import HEAD, Chain, nest
from model_store.architectures.head import Head
from model_store.architectures.libraries.empty_models import built
from model_store.architectures.libraries.linked_modules import grouped, linked, part_of, traced
from model_store.architectures.libraries.needed import needed
from model_store.architectures.vision import MODALITY
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

LIBRARY = "transformers"
CONFIG = "config"  # the one argument
CLASSIFIER = "classifier"
"""The name of the last layer of every classifier here."""
_MAX_LAYERS = 8
_MAX_NUMBER = 65536  # of a size in a configuration
_MAX_ENTRIES = 200
_SIZE, _INPUT = "image_size", "pixel_values"
_MOST = {"num_hidden_layers": 100, "hidden_size": 8192, _SIZE: 2048}
_POOLER = "pooler"
# What the library raises for a configuration that it cannot use.
_REFUSALS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ArithmeticError)
# A configuration's entries that name code, files or other models, and have no place in a manifest.
_NEVER = ("auto_map", "custom_pipelines", "quantization_config", "trust_remote_code", "_name_or_path", "name_or_path")
_LEFT_OUT = (*_NEVER, "architectures", "id2label", "label2id", "problem_type", "transformers_version", "torch_dtype")


class MeanOfTokens(nn.Module):
    """The mean of all tokens: [n, tokens, d] to [n, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each row."""
        return x.mean(dim=1)


class FirstToken(nn.Module):
    """The class token: [n, tokens, d] to [n, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the first token of each row."""
        return x[:, 0]


class FirstAndMean(nn.Module):
    """The class token, and the mean of the patches, as DINOv2's classifiers read them: [n, 1 + r + t, d] to [n, 2d].

    The r registers between them are left out.
    """

    def __init__(self, registers: int) -> None:
        super().__init__()
        self.start = 1 + registers

    def forward(self, x: Tensor) -> Tensor:
        """Return both, one behind the other."""
        return torch.cat([x[:, 0], x[:, self.start :].mean(dim=1)], dim=1)


@dataclass(frozen=True)
class Kind:
    """How the tokens of a `model_type` become the embedding that its classifiers read; `width` counts hidden sizes."""

    pool: Callable[[Any], nn.Module]
    width: int = 1


KINDS: Mapping[str, Kind] = {
    "vit": Kind(lambda _: FirstToken()),
    "deit": Kind(lambda _: FirstToken()),
    "vit_msn": Kind(lambda _: FirstToken()),
    "ijepa": Kind(lambda _: MeanOfTokens()),
    "dinov2": Kind(lambda _: FirstAndMean(0), 2),
    "dinov2_with_registers": Kind(lambda config: FirstAndMean(int(config.num_register_tokens)), 2),
}
"""The encoders that are deterministic functions of pictures, and end as the library's classifiers begin."""


def modality(_: str) -> str:
    """Return the modality of all of them."""
    return MODALITY


def check_input(name: str, arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the pictures have the size that the positions are for."""
    size, found = input_edge(name, arguments), spec.to_json()["crop_size"]
    if size != found:
        raise InvalidManifest(f"input_spec.crop_size must be {size}, the configuration's, not {found}")


def build(name: str, arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build an encoder as transformers does, then cut it; tensors come from the ambient device and random numbers.

    Raise InvalidManifest for an unknown kind or a configuration that cannot be built, ExtraMissing without the library.
    """
    if head.kind not in {"linear", "none"}:
        raise InvalidManifest(f"encoders of transformers take a head 'linear' or 'none', not {head.kind!r}")
    layers = _layers(name, json.dumps(dict(arguments), sort_keys=True))
    model = encoder(name, arguments)
    prefix = model.base_model_prefix
    in_layers = [path for layer in layers for path in layer]
    stages = [("stem", nest([(str(prefix), part_of(model, _hidden, [*in_layers, *_unused(model)]))]))]
    for number, layer in enumerate(layers, start=1):
        stages.append((f"layer{number}", nest([(f"{prefix}.{path}", model.get_submodule(path)) for path in layer])))
    stages.append(("pool", nest([("pool", KINDS[name].pool(model.config))])))
    size = KINDS[name].width * _number(arguments[CONFIG], "hidden_size")
    if head.kind != "none":
        stages.append((HEAD, nest([(CLASSIFIER, nn.Linear(size, head.outputs))])))
    return Chain(stages, size)


def encoder(name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401  transformers carries no types
    """Return transformers' own encoder, with random weights; on the meta device without memory."""
    config = configuration(name, arguments)
    transformers = needed(LIBRARY, f"{LIBRARY}:{name}")
    try:
        return built(lambda: transformers.AutoModel.from_config(config))
    except _REFUSALS as error:
        raise InvalidManifest(f"{LIBRARY}:{name} cannot be built of this configuration: {_line(error)}") from error


def configuration(name: str, arguments: Mapping[str, Any], **others: Any) -> Any:  # noqa: ANN401  transformers carries no types
    """Return the configuration in the arguments as the library's object; raise InvalidManifest for a wrong one."""
    if name not in KINDS:
        raise InvalidManifest(f"encoders of {LIBRARY} are {', '.join(KINDS)}, not {name[:100]!r}")
    if set(arguments) != {CONFIG} or not isinstance(arguments[CONFIG], dict):
        raise InvalidManifest(f"architecture {LIBRARY}:{name} has one argument, {CONFIG}, an object")
    entries = arguments[CONFIG]
    _check(entries)
    transformers = needed(LIBRARY, f"{LIBRARY}:{name}")
    try:
        return transformers.AutoConfig.for_model(name, **entries, **others)
    except _REFUSALS as error:
        raise InvalidManifest(f"{LIBRARY}:{name} cannot have this configuration: {_line(error)}") from error


def kept_entries(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a config.json that a manifest keeps: none that names code, labels or other models."""
    return {key: value for key, value in config.items() if key not in {"model_type", *_LEFT_OUT}}


def input_edge(name: str, arguments: Mapping[str, Any]) -> int:
    """Return the height and width that the positions of an encoder are for."""
    config = configuration(name, arguments)
    size = getattr(config, _SIZE)
    if type(size) is not int or config.num_channels != 3:
        raise InvalidManifest(f"{LIBRARY}:{name} must take square RGB, not {size!r} of {config.num_channels}")
    return size


@lru_cache(maxsize=64)
def _layers(name: str, arguments: str) -> tuple[tuple[str, ...], ...]:
    """Return the modules of each layer, found by running the encoder without memory; the norm is in the last one."""
    values = json.loads(arguments)
    with torch.device("meta"):
        model = encoder(name, values).to("meta").eval()
    rows = torch.empty(2, 3, *(2 * [input_edge(name, values)]), device="meta")
    with torch.no_grad(), traced(model) as trace:
        end = model(**{_INPUT: rows}).last_hidden_state
    paths = [call.path for call in linked(trace, rows, end)]
    layer = needed(LIBRARY, name).modeling_layers.GradientCheckpointingLayer
    blocks = [path for path in paths if isinstance(model.get_submodule(path), layer)]
    if not blocks:
        raise InvalidManifest(f"the layers of {LIBRARY}:{name} take more than the tokens: it cannot be cut")
    groups = grouped(blocks, _MAX_LAYERS)
    starts = [paths.index(group[0]) for group in groups]
    return tuple(tuple(paths[a:b]) for a, b in zip(starts, [*starts[1:], len(paths)], strict=True))


def _hidden(part: Any, x: Tensor) -> Tensor:  # noqa: ANN401  transformers carries no types
    """Run the encoder's own code, of which the layers are left out."""
    own: Any = type(part).__mro__[1]
    hidden: Tensor = own.forward(part, **{_INPUT: x}).last_hidden_state
    return hidden


def _unused(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_children() if name == _POOLER]


def _check(entries: Mapping[str, Any]) -> None:
    """Raise InvalidManifest for entries that name code, and for numbers that would take a machine's memory."""
    if found := sorted(set(entries) & set(_LEFT_OUT)):
        raise InvalidManifest(f"{CONFIG} must not have {found[0]!r}")
    if len(entries) > _MAX_ENTRIES or not all(_is_plain(value) for value in entries.values()):
        raise InvalidManifest(
            f"{CONFIG} must have at most {_MAX_ENTRIES} entries, numbers up to {_MAX_NUMBER} or words"
        )
    for key, most in _MOST.items():
        if _number(entries, key, default=1) > most:
            raise InvalidManifest(f"{CONFIG}.{key} must be at most {most}, not {entries[key]}")


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= _MAX_ENTRIES and all(not isinstance(each, list) and _is_plain(each) for each in value)
    if isinstance(value, int | float):
        return abs(value) <= _MAX_NUMBER
    return value is None or (isinstance(value, str) and len(value) <= _MAX_ENTRIES)


def _number(entries: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = entries.get(key, default)
    if type(value) is not int or value < 1:
        raise InvalidManifest(f"{CONFIG}.{key} must be a whole number above 0, not {value!r}")
    return value


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
