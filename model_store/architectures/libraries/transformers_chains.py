"""Encoders by transformers' own modules, each cut into a chain: `transformers:vit` is the architecture.

https://huggingface.co/docs/transformers. The arguments hold the configuration, as data: which class is built follows
from this module's table alone, and no code but the library's runs. `stem` is all before the layers, `layer1` … are the
layers in groups with the norm behind them, `pool` turns tokens into the embedding.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures.audio.whisper import RATE
from model_store.architectures.audio.windows import MeanOverWindows, per_window
from model_store.architectures.chain import HEAD, Chain, nest
from model_store.architectures.head import Head
from model_store.architectures.libraries.empty_models import built
from model_store.architectures.libraries.linked_modules import grouped, linked, part_of, traced
from model_store.architectures.libraries.needed import needed
from model_store.architectures.libraries.transformers_kinds import KINDS, Sound
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

LIBRARY = "transformers"
CONFIG = "config"  # the argument of all
CLASSIFIER = "classifier"
"""The name of the last layer of every classifier here."""
_MAX_LAYERS = 8
_MAX_NUMBER = 65536  # of a size in a configuration
_MAX_ENTRIES = 200
_SIZE = "image_size"
_MOST = {
    "num_hidden_layers": 100,
    "hidden_size": 8192,
    _SIZE: 2048,
    "encoder_layers": 100,
    "d_model": 8192,
    "max_source_positions": 3000,
    "num_mel_bins": 256,
}
_POOLER = "pooler"
_NO_DECODER = dict.fromkeys(
    ("decoder_layers", "decoder_ffn_dim", "decoder_attention_heads", "vocab_size", "max_target_positions"), 1
) | {"pad_token_id": 0}
"""The smallest decoder and vocabulary: an encoder in a model with both is cut out of it."""
# What the library raises for a configuration that it cannot use.
_REFUSALS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ArithmeticError)
# A configuration's entries that name code, files or other models, and have no place in a manifest.
_NEVER = ("auto_map", "custom_pipelines", "quantization_config", "trust_remote_code", "_name_or_path", "name_or_path")
_LEFT_OUT = (*_NEVER, "architectures", "id2label", "label2id", "problem_type", "transformers_version", "torch_dtype")


def modality(name: str) -> str:
    """Return the modality of an encoder; raise InvalidManifest for an unknown one."""
    _check_name(name)
    return KINDS[name].modality


def check_input(name: str, arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless rows have the size that the encoder is for."""
    found, sound = spec.to_json(), KINDS[name].sound
    if sound is None:
        size = input_edge(name, arguments)
        if size != found["crop_size"]:
            raise InvalidManifest(f"input_spec.crop_size must be {size}, the configuration's, not {found['crop_size']}")
        return
    if found["rate"] != RATE:
        raise InvalidManifest(f"input_spec.rate must be {RATE} for {LIBRARY}:{name}, not {found['rate']}")
    least, most = sound.window(configuration(name, arguments))
    if not least <= found["window"] <= most:
        rule = f"{least} to {most}" if least != most else str(least)
        raise InvalidManifest(f"input_spec.window must be {rule} for {LIBRARY}:{name}, not {found['window']}")


def build(name: str, arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build an encoder as transformers does, then cut it; tensors come from the ambient device and random numbers.

    Raise InvalidManifest for an unknown kind or a configuration that cannot be built, ExtraMissing without the library.
    """
    if head.kind not in {"linear", "none"}:
        raise InvalidManifest(f"encoders of transformers take a head 'linear' or 'none', not {head.kind!r}")
    layers = _layers(name, json.dumps(dict(arguments), sort_keys=True))
    kind, model = KINDS[name], encoder(name, arguments)
    prefix = kind.part or model.base_model_prefix
    in_layers = [path for layer in layers for path in layer]
    stem = part_of(model, _hidden(kind.input), [*in_layers, *_unused(model)])
    stages: list[tuple[str, nn.Module]] = [("stem", nest([(str(prefix), stem)]))]
    for number, layer in enumerate(layers, start=1):
        stages.append(
            (
                f"layer{number}",
                nest([(f"{prefix}.{path}", _of_one_tensor(model.get_submodule(path))) for path in layer]),
            )
        )
    stages.append(("pool", nest([("pool", kind.pool(model.config))])))
    if kind.sound is not None:
        stages = _over_windows(stages, kind.sound.front_end(model.config, arguments))
    size = kind.width * _number(arguments[CONFIG], kind.size)
    if head.kind != "none":
        stages.append((HEAD, nest([(CLASSIFIER, nn.Linear(size, head.outputs))])))
    return Chain(stages, size)


def _over_windows(stages: list[tuple[str, nn.Module]], front_end: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the stages behind a front end, each run over all windows, and the mean over a row's windows."""
    heard = [("front_end", nest([("front_end", front_end)])), *stages]
    return [*((name, per_window(stage)) for name, stage in heard), ("windows", MeanOverWindows())]


def encoder(name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401  transformers carries no types
    """Return transformers' own encoder, with random weights; on the meta device without memory."""
    config = configuration(name, arguments)
    transformers, part = needed(LIBRARY, f"{LIBRARY}:{name}"), KINDS[name].part
    try:
        model = built(lambda: transformers.AutoModel.from_config(config))
        return model.get_submodule(part) if part else model
    except _REFUSALS as error:
        raise InvalidManifest(f"{LIBRARY}:{name} cannot be built of this configuration: {_line(error)}") from error


def configuration(name: str, arguments: Mapping[str, Any], **others: Any) -> Any:  # noqa: ANN401  transformers carries no types
    """Return the configuration in the arguments as the library's object; raise InvalidManifest for a wrong one."""
    _check_name(name)
    wanted = {CONFIG, *KINDS[name].arguments}
    if set(arguments) != wanted or not isinstance(arguments[CONFIG], dict):
        raise InvalidManifest(
            f"the arguments of {LIBRARY}:{name} are {', '.join(sorted(wanted))}; {CONFIG} is an object"
        )
    entries = arguments[CONFIG]
    _check(entries, KINDS[name].sound)
    transformers = needed(LIBRARY, f"{LIBRARY}:{name}")
    try:
        return transformers.AutoConfig.for_model(name, **entries, **_only_encoder(name), **others)
    except _REFUSALS as error:
        raise InvalidManifest(f"{LIBRARY}:{name} cannot have this configuration: {_line(error)}") from error


def kept_entries(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a config.json that a manifest keeps: none that names code, labels or other models."""
    sound = KINDS[name].sound
    if sound is not None:
        return {key: value for key, value in config.items() if key in sound.keeps}
    return entries_of(config)


def entries_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a config.json that describe the model: none that names code, labels or other models."""
    return {key: value for key, value in config.items() if key not in {"model_type", *_LEFT_OUT}}


def _only_encoder(name: str) -> Mapping[str, Any]:
    """Return entries that leave out what no embedding needs, and what varies from run to run."""
    if KINDS[name].sound is None:
        return {}
    return {"layerdrop": 0.0, "encoder_layerdrop": 0.0, "apply_spec_augment": False, **_NO_DECODER}


def _check_name(name: str) -> None:
    if name not in KINDS:
        raise InvalidManifest(f"encoders of {LIBRARY} are {', '.join(KINDS)}, not {name[:100]!r}")


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
    rows = _example(name, values, model.config)
    with torch.no_grad(), traced(model) as trace:
        end = model(**{KINDS[name].input: rows}).last_hidden_state
    paths = [call.path for call in linked(trace, rows, end)]
    layer = needed(LIBRARY, name).modeling_layers.GradientCheckpointingLayer
    blocks = [path for path in paths if isinstance(model.get_submodule(path), layer)]
    if not blocks:
        raise InvalidManifest(f"the layers of {LIBRARY}:{name} take more than the tokens: it cannot be cut")
    groups = grouped(blocks, _MAX_LAYERS)
    starts = [paths.index(group[0]) for group in groups]
    return tuple(tuple(paths[a:b]) for a, b in zip(starts, [*starts[1:], len(paths)], strict=True))


def _of_one_tensor(layer: nn.Module) -> nn.Module:
    """Return a layer that is called with its tokens alone: None stands for all else that it must be given."""
    needed_beside = [
        each for each in inspect.signature(layer.forward).parameters.values()
        if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
    ][1:]  # fmt: skip
    if not needed_beside:
        return layer

    def forward(part: Any, x: Tensor) -> Any:  # noqa: ANN401  transformers carries no types
        own: Any = type(part).__mro__[1]
        return own.forward(part, x, *[None] * len(needed_beside))

    return part_of(layer, forward, ())


def _example(name: str, arguments: Mapping[str, Any], config: Any) -> Tensor:  # noqa: ANN401  transformers carries no types
    """Return two rows without memory that an encoder takes."""
    sound = KINDS[name].sound
    if sound is None:
        return torch.empty(2, 3, *(2 * [input_edge(name, arguments)]), device="meta")
    return torch.empty(2, *sound.heard(config), device="meta")


def _hidden(name: str) -> Callable[[Any, Tensor], Tensor]:
    """Return what runs the encoder's own code, of which the layers are left out, on its input of this name."""

    def hidden(part: Any, x: Tensor) -> Tensor:  # noqa: ANN401  transformers carries no types
        own: Any = type(part).__mro__[1]
        found: Tensor = own.forward(part, **{name: x}).last_hidden_state
        return found

    return hidden


def _unused(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_children() if name == _POOLER]


def _check(entries: Mapping[str, Any], sound: Sound | None) -> None:
    """Raise InvalidManifest for entries that name code, and for numbers that would take a machine's memory."""
    unknown = set(entries) - sound.keeps if sound is not None else set(entries) & set(_LEFT_OUT)
    if found := sorted(unknown):
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
