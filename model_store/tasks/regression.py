"""Regression: each example has a number for each target; the outputs are these numbers, in the targets' own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from model_store.tasks.task import Activation, read_names


@dataclass(frozen=True)
class Regression:
    """Targets in the order of the outputs. Training scales targets; the head that is stored gives them unscaled."""

    targets: tuple[str, ...]
    kind: str = "regression"
    activation: Activation = "identity"
    temperature: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """The targets."""
        return self.targets

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        return {"kind": self.kind, "targets": list(self.targets)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes; raise InvalidManifest naming the wrong field."""
        return cls(read_names(values, "targets"))
