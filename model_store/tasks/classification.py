"""Classification: each example has one of the labels; scores are the softmax of the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from model_store.tasks.task import Activation, read_names, read_temperature, temperature_json


@dataclass(frozen=True)
class Classification:
    """Labels in the order of the outputs. Torchvision's list has two names twice, so repeats are legal."""

    labels: tuple[str, ...]
    temperature: float = 1.0
    kind: str = "classification"
    activation: Activation = "softmax"

    @property
    def names(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        return {"kind": self.kind, "labels": list(self.labels), **temperature_json(self.temperature)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes; raise InvalidManifest naming the wrong field."""
        return cls(read_names(values, "labels", optional=["temperature"], may_repeat=True), read_temperature(values))
