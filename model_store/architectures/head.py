"""The kind of the last stage of a chain, as a manifest holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from model_store.errors import InvalidManifest
from model_store.tasks.task import Activation

FittedKind = Literal[
    "logistic_regression",
    "ridge",
    "gaussian_nb",
    "multinomial_nb",
    "bernoulli_nb",
    "linear_svm",
    "rbf_svm",
    "nearest_centroid",
    "nearest_neighbours",
    "mlp",
    "gradient_boosting",
    "random_forest",
    "average",
]
"""Heads that are fitted, not trained by gradients: `model_store/architectures/heads` has the stage of each."""
HeadKind = Literal["linear", "conv", "none"] | FittedKind
FITTED_KINDS: tuple[str, ...] = get_args(FittedKind)
HEAD_KINDS: tuple[str, ...] = ("linear", "conv", "none", *FITTED_KINDS)
_KEYS = {"kind", "outputs", "activation"}


@dataclass(frozen=True)
class Head:
    """The kind of the last stage.

    `linear`: one linear layer on the embedding (behind dropout, as torchvision has it); `conv`: a 1x1 convolution on
    the feature map, then ReLU and the mean (SqueezeNet's own head); `none`: a backbone only, with 0 outputs; any other
    kind is fitted on embeddings, and `arguments` are the sizes of its tensors. The activation turns outputs into the
    numbers of an answer; a backbone's is `identity`.
    """

    kind: HeadKind
    outputs: int = 0
    activation: Activation = "softmax"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in HEAD_KINDS:
            raise InvalidManifest(f"head.kind must be one of {', '.join(HEAD_KINDS)}, not {self.kind!r}")
        is_count = type(self.outputs) is int and self.outputs >= 0
        if not is_count or (self.outputs == 0) != (self.kind == "none"):
            raise InvalidManifest(f"head.outputs cannot be {self.outputs!r} where head.kind is {self.kind!r}")
        if self.kind == "none":
            object.__setattr__(self, "activation", "identity")
        if self.activation not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise InvalidManifest(f"head.activation must be one of {known}, not {self.activation!r}")
        if not isinstance(self.arguments, Mapping):
            raise InvalidManifest("head.arguments must be an object")
        if self.arguments and not self.is_fitted:
            raise InvalidManifest(f"head.arguments must be left out where head.kind is {self.kind!r}")

    def __hash__(self) -> int:
        """Equal heads build equal stages."""
        return hash((self.kind, self.outputs, self.activation, json.dumps(dict(self.arguments), sort_keys=True)))

    @property
    def is_fitted(self) -> bool:
        """Say whether it is one of the heads that are fitted on embeddings."""
        return self.kind in FITTED_KINDS

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        values = {"kind": self.kind, "outputs": self.outputs, "activation": self.activation}
        return {**values, "arguments": dict(self.arguments)} if self.arguments else values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form in a manifest; raise InvalidManifest naming the wrong field."""
        if set(values) - {"arguments"} != _KEYS:
            raise InvalidManifest(
                "head must have exactly the keys kind, outputs and activation, and may have arguments"
            )
        if values["kind"] == "none" and values["activation"] != "identity":
            raise InvalidManifest(f"head.activation must be 'identity' without a head, not {values['activation']!r}")
        return cls(**values)
