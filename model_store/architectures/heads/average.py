"""The mean of several fitted heads: each answers by itself, and their answers are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from model_store.architectures.head import Head, HeadKind
from model_store.architectures.heads.stage import HeadStage
from model_store.errors import InvalidManifest
from model_store.modalities.batch import X

MAX_PARTS = 16
_LEAST_SHARE = 1e-6
Builders = Mapping[str, Callable[[int, Head], HeadStage]]


class Average(nn.Module):
    """The mean of the scores of `parts`, or of their values; the output is the logarithm or the logit of that mean.

    The argument `parts` has the kind of each part, and its arguments; tensors are named `parts.0.…`.
    """

    keeps_dtype = True

    def __init__(self, size: int, head: Head, builders: Builders) -> None:
        super().__init__()
        self.reads: tuple[str, ...] = (X,)
        self.activation = head.activation
        if unknown := set(head.arguments) - {"parts"}:
            raise InvalidManifest(f"head.arguments.{min(unknown)[:80]} is unknown")
        heads = _heads(head, builders)
        self.parts = nn.ModuleList(builders[each.kind](size, each) for each in heads)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [n, outputs] for embeddings [n, size] of any floating dtype."""
        outputs = torch.stack([part(x).double() for part in self.parts])
        if self.activation == "softmax":
            return (outputs.logsumexp(dim=0) - math.log(len(self.parts))).float()
        if self.activation == "sigmoid":
            return outputs.sigmoid().mean(dim=0).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE).logit().float()
        return outputs.mean(dim=0).float()

    def check_arguments(self) -> None:
        """Raise InvalidManifest where a part has an argument that its stage does not know."""
        for part in self.parts:
            cast("HeadStage", part).check_arguments()

    def check_values(self) -> None:
        """Raise InvalidManifest for values that a part cannot have."""
        for part in self.parts:
            cast("HeadStage", part).check_values()


def _heads(head: Head, builders: Builders) -> list[Head]:
    parts = head.arguments.get("parts")
    if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_PARTS:
        raise InvalidManifest(f"head.arguments.parts must be a list of 1 to {MAX_PARTS} heads")
    return [_part(head, each, f"head.arguments.parts[{number}]", builders) for number, each in enumerate(parts)]


def _part(head: Head, values: Any, place: str, builders: Builders) -> Head:  # noqa: ANN401  whatever a manifest holds
    if not isinstance(values, dict) or set(values) != {"kind", "arguments"} or str(values["kind"]) not in builders:
        raise InvalidManifest(f"{place} must have arguments, and a kind of {', '.join(builders)}")
    return Head(cast("HeadKind", str(values["kind"])), head.outputs, head.activation, values["arguments"])
