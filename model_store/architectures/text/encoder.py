"""Encoders of the BERT family as chains: `embeddings`, `layer1` …, one for each layer, `pooling`, and the head.

Tensors have the names of Hugging Face's BERT, whichever family an encoder is of; `families.py` maps the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from torch import nn

from model_store.architectures.chain import HEAD, Chain
from model_store.architectures.head import Head
from model_store.architectures.text.families import FAMILIES
from model_store.architectures.text.modules import (
    ACTIVATIONS,
    Embeddings,
    EncoderLayer,
    Pool,
    Pooler,
    Pooling,
    Under,
    initialise,
)
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

MODALITY = "text"
_MOST = {
    "vocabulary": 2_000_000,
    "width": 8192,
    "layers": 96,
    "heads": 256,
    "hidden": 65536,
    "positions": 65536,
    "token_types": 16,
    "relative_buckets": 1024,
}
_REQUIRED = {
    "vocabulary", "width", "layers", "heads", "hidden", "positions", "activation", "epsilon", "dropout", "padding_id",
    "pooling", "normalise",
}  # fmt: skip


def check_input(arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the longest row has a position for each token, padded by the encoder's own id."""
    found, most = spec.to_json(), max_tokens(arguments)
    for name in ("max_tokens", "most_tokens"):
        if found.get(name, 0) > most:
            raise InvalidManifest(f"input_spec.{name} must be at most {most}, as there are positions, not more")
    if found["padding_id"] != arguments["padding_id"]:
        wanted = arguments["padding_id"]
        raise InvalidManifest(f"input_spec.padding_id must be {wanted}, the encoder's own, not {found['padding_id']}")


def max_tokens(arguments: Mapping[str, Any]) -> int:
    """Return the tokens that an encoder has positions for."""
    return int(arguments["positions"]) - int(arguments.get("first_position", 0))


def _encoder(name: str, arguments: Mapping[str, Any], head: Head) -> Chain:
    family = FAMILIES[name]
    _check_arguments(name, arguments)
    if head.kind == "conv":
        raise InvalidManifest(f"head.kind 'conv' is squeezenet1_1's own; {name} takes 'linear' or 'none'")
    counted_from = arguments["padding_id"] if family.counts_from_padding else None
    width, normalises = arguments["width"], arguments["normalise"]
    pool: nn.Module = Pool(arguments["pooling"], normalises=normalises)
    if arguments["pooling"] == "pooler":
        pool = Under("pooler", Pooler(width, normalises=normalises))
    stages: list[tuple[str, nn.Module]] = [
        ("embeddings", Under("embeddings", Embeddings(arguments, counted_from))),
        *(
            (f"layer{number + 1}", Under(f"encoder.layer.{number}", EncoderLayer(arguments)))
            for number in range(arguments["layers"])
        ),
        ("pooling", pool),
    ]
    if head.kind != "none":
        stages.append((HEAD, Under("classifier", nn.Linear(width, head.outputs))))
    chain = Chain(stages, width)
    initialise(chain)
    return chain


def _check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    family = FAMILIES[name]
    wanted = set(_REQUIRED)
    wanted |= {"token_types"} if family.has_token_types else set()
    wanted |= {"relative_buckets"} if family.relative_buckets else set()
    wanted |= {"first_position"} if family.counts_from_padding else set()
    for argument in sorted(wanted ^ set(arguments)):
        _check(name, argument in wanted, argument, "is unknown")
        _check(name, argument in arguments, argument, "is missing")
    for argument, most in _MOST.items():
        if argument in arguments:
            _check(name, _is_count(arguments[argument], 1, most), argument, f"must be an integer in 1..{most}")
    _check(name, arguments["width"] % arguments["heads"] == 0, "width", "must be a multiple of heads")
    most = arguments["vocabulary"] - 1
    _check(name, _is_count(arguments["padding_id"], 0, most), "padding_id", f"must be an integer in 0..{most}")
    if family.counts_from_padding:
        first = arguments["padding_id"] + 1
        _check(name, arguments["first_position"] == first, "first_position", f"must be {first}, padding_id + 1")
        _check(name, arguments["positions"] > first, "positions", f"must be more than {first}")
    _check(name, arguments["activation"] in [*ACTIVATIONS], "activation", f"must be one of {', '.join(ACTIVATIONS)}")
    _check(name, _is_in_range(arguments["epsilon"], 0, 1), "epsilon", "must be a number from 0 to 1")
    _check(name, _is_in_range(arguments["dropout"], 0, 0.9), "dropout", "must be a number from 0 to 0.9")
    known = [each for each in get_args(Pooling) if each != "pooler" or family.has_pooler]
    _check(name, arguments["pooling"] in known, "pooling", f"must be one of {', '.join(known)}")
    _check(name, type(arguments["normalise"]) is bool, "normalise", "must be true or false")


def _is_count(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_in_range(value: object, least: float, most: float) -> bool:
    return type(value) in {int, float} and least <= value <= most  # type: ignore[operator]  # checked just before


def _check(name: str, holds: bool, argument: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"{name}'s argument {argument} {rule}")


BUILDERS = {name: partial(_encoder, name) for name in FAMILIES}
