"""Networks for rows of numbers, each a chain of stages: `mlp` is linear layers with ReLU between them.

Tensors have the names of the plain `nn.Sequential(Linear, ReLU, …, Linear)`: the union of the stages is its state dict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from model_store.architectures.chain import HEAD, Chain, Head
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

MODALITY = "values"
_MAX_WIDTH = 65536
_MAX_LAYERS = 64


def check_input(arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the spec takes rows of numbers, as many as the first of the widths."""
    size, found = _widths(arguments)[0], spec.to_json()["size"]
    if found != size:
        raise InvalidManifest(f"input_spec.size must be {size}, the first of the widths, not {found}")


def _mlp(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build `layer1` …, one for each hidden width, and the head.

    `{"widths": [64, 256]}` takes rows of 64 numbers and has one hidden layer of 256, whose output is the embedding.
    """
    widths = _widths(arguments)
    if head.kind == "conv":
        raise InvalidManifest("head.kind 'conv' is squeezenet1_1's own; mlp takes 'linear' or 'none'")
    layers = [
        (f"layer{number + 1}", [(f"{2 * number}", nn.Linear(*sizes)), (f"{2 * number + 1}", nn.ReLU())])
        for number, sizes in enumerate(pairwise(widths))
    ]
    if head.kind == "none":
        return Chain(layers, widths[-1])
    linear = (f"{2 * len(layers)}", nn.Linear(widths[-1], head.outputs))
    return Chain([*layers, (HEAD, [linear])], widths[-1])


def _widths(arguments: Mapping[str, Any]) -> Sequence[int]:
    if unknown := set(arguments) - {"widths"}:
        raise InvalidManifest(f"architecture mlp has no argument {', '.join(sorted(unknown))}")
    widths = arguments.get("widths")
    if isinstance(widths, list | tuple) and 2 <= len(widths) <= _MAX_LAYERS and all(map(_is_width, widths)):
        return widths
    raise InvalidManifest(
        "mlp's argument widths must be the size of a row and then of each hidden layer: "
        f"2 to {_MAX_LAYERS} integers in 1..{_MAX_WIDTH}, not {widths!r}"
    )


def _is_width(value: object) -> bool:
    return type(value) is int and 0 < value <= _MAX_WIDTH


BUILDERS = {"mlp": _mlp}
