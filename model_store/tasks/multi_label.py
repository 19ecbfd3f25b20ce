"""Multi-label: an example has any number of the labels; each score is the sigmoid of one output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from model_store.tasks.task import Activation, read_names, read_temperature, temperature_json


@dataclass(frozen=True)
class MultiLabel:
    """Labels in the order of the outputs."""

    labels: tuple[str, ...]
    temperature: float = 1.0
    kind: str = "multi_label"
    activation: Activation = "sigmoid"

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
        return cls(read_names(values, "labels", optional=["temperature"]), read_temperature(values))
