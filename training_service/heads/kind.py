"""One kind of fitted head: the settings to choose from, and a fit by scikit-learn that ends in tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training_service.recipes.recipe import Recipe
from training_service.tasks.training_task import Numbers, Targets

Settings = Mapping[str, Any]
"""Hyperparameters of one fit, by their names in the recipe."""


@dataclass(frozen=True)
class FitRows:
    """Rows that a head is fitted on: embeddings float64 [n, d], and their targets in their own units.

    `task` is its kind. `strengths` are the task's for a linear head. `categorical` are the columns of the embedding
    that are codes of categories.
    """

    features: Numbers
    targets: Targets
    task: str
    num_outputs: int
    strengths: Sequence[float] = (1.0,)
    is_balanced: bool = False
    seed: int = 0
    categorical: tuple[int, ...] = ()

    @property
    def class_weight(self) -> str | None:
        """What a row of each label counts, as scikit-learn names it."""
        return "balanced" if self.is_balanced else None

    @property
    def is_regression(self) -> bool:
        """Say whether the targets are numbers."""
        return self.task == "regression"

    @property
    def is_exclusive(self) -> bool:
        """Say whether each row has one label."""
        return self.task == "classification"

    @property
    def numbers(self) -> Numbers:
        """Targets of a regression, float64 [n, outputs]."""
        return self.targets.astype(np.float64)

    @property
    def mean(self) -> Numbers:
        """The mean of each target of a regression, float64 [outputs]."""
        found: Numbers = self.numbers.mean(axis=0)
        return found

    @property
    def deviation(self) -> Numbers:
        """The standard deviation of each target, float64 [outputs]; 1 for one that is the same in all rows."""
        deviation = self.numbers.std(axis=0)
        return np.where(deviation > 0, deviation, 1.0)

    @property
    def scaled_numbers(self) -> Numbers:
        """Targets of a regression with mean 0 and deviation 1, float64 [n, outputs]."""
        return (self.numbers - self.mean) / self.deviation

    def labels(self) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield each label of a multi-label task, and which rows have it."""
        for label in range(self.num_outputs):
            yield label, self.targets[:, label] > 0


@dataclass(frozen=True)
class FittedTensors:
    """The sizes and the tensors of a fitted head, as its stage takes them."""

    arguments: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class FittedKind:
    """One kind of head.

    `settings` are those to choose from by validation rows: one where the recipe leaves nothing open. `fit` is
    deterministic, by the rows and the settings.
    """

    settings: Callable[[Recipe, FitRows], Sequence[Settings]]
    fit: Callable[[FitRows, Settings], FittedTensors]


def float64(values: Any) -> Tensor:  # noqa: ANN401  whatever NumPy takes
    """Return numbers as a tensor of float64 that owns its memory."""
    return torch.from_numpy(np.array(values, np.float64, order="C"))


def exclusive(classes: NDArray[Any], **tensors: Any) -> FittedTensors:  # noqa: ANN401  as `float64` takes them
    """Return the tensors of a classifier, with the labels `classes` that rows had."""
    seen = torch.from_numpy(np.array(classes, np.int64))
    return FittedTensors({"seen": len(seen)}, {"seen": seen, **{name: float64(each) for name, each in tensors.items()}})


def is_constant(own: NDArray[np.bool_]) -> bool:
    """Say whether all rows have a label, or none: there is nothing to fit then."""
    return bool(own.all()) or not bool(own.any())


def constant_logit(own: NDArray[np.bool_]) -> float:
    """Return the logit of such a label: of its share, as if one more row had it and one had not."""
    return float(np.log((own.sum() + 1) / ((~own).sum() + 1)))


def chosen_or(value: Any, choices: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401  a hyperparameter
    """Return the caller's value alone, or the choices where there is none."""
    return choices if value is None else (value,)


def averaged(kinds: Sequence[str], heads: Sequence[FittedTensors]) -> FittedTensors:
    """Return the mean of several fitted heads, as the stage of the kind `average` takes it."""
    parts = [{"kind": str(kind), "arguments": dict(each.arguments)} for kind, each in zip(kinds, heads, strict=True)]
    tensors = {
        f"parts.{number}.{name}": tensor for number, each in enumerate(heads) for name, tensor in each.tensors.items()
    }
    return FittedTensors({"parts": parts}, tensors)
