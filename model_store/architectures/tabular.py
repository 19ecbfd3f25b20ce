"""Networks for rows of numbers, each a chain of stages.

`mlp` is linear layers with ReLU between them; `rows` is none, its embedding is the row itself. Tensors have
the names of the plain `nn.Sequential(Linear, ReLU, …, Linear)`: the union of the stages is its state dict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from model_store.architectures.chain import HEAD, Chain
from model_store.architectures.head import Head
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

MODALITY = "values"
_MAX_WIDTH = 65536
_MAX_LAYERS = 64


def check_input(arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the spec takes rows of numbers, as many as the first of the widths."""
    size, found = _size(arguments) if "size" in arguments else _widths(arguments)[0], spec.to_json()["size"]
    if found != size:
        raise InvalidManifest(f"input_spec.size must be {size}, as the architecture's arguments say, not {found}")


def _mlp(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build `layer1` …, one for each hidden width, and the head.

    `{"widths": [64, 256]}` takes rows of 64 numbers and has one hidden layer of 256, whose output is the embedding.
    """
    widths = _widths(arguments)
    _check_head("mlp", head)
    layers = [
        (f"layer{number + 1}", [(f"{2 * number}", nn.Linear(*sizes)), (f"{2 * number + 1}", nn.ReLU())])
        for number, sizes in enumerate(pairwise(widths))
    ]
    if head.kind == "none":
        return Chain(layers, widths[-1])
    linear = (f"{2 * len(layers)}", nn.Linear(widths[-1], head.outputs))
    return Chain([*layers, (HEAD, [linear])], widths[-1])


class Row(nn.Module):
    """Passes rows on as they are, in their own dtype."""

    keeps_dtype = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows [n, size]."""
        return x


def _rows(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build `row`, which passes on the rows of `size` numbers as the embedding, and the head."""
    size = _size(arguments)
    _check_head("rows", head)
    if head.kind == "none":
        return Chain([("row", Row())], size)
    return Chain([("row", Row()), (HEAD, [("0", nn.Linear(size, head.outputs))])], size)


def _check_head(architecture: str, head: Head) -> None:
    if head.kind == "conv":
        raise InvalidManifest(f"head.kind 'conv' is squeezenet1_1's own; {architecture} takes 'linear' or 'none'")


def _size(arguments: Mapping[str, Any]) -> int:
    size = arguments.get("size")
    if set(arguments) == {"size"} and type(size) is int and _is_width(size):
        return size
    raise InvalidManifest(f"rows has one argument, size: an integer in 1..{_MAX_WIDTH}, not {dict(arguments)!r}")


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


BUILDERS = {"mlp": _mlp, "rows": _rows}
