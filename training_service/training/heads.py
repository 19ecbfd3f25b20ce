"""Fits a linear head on features by the task's own regression, ready to run as one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training_service.arrays.scratch import mapped_array
from training_service.tasks import TrainingTask
from training_service.tasks.cross_validation import Folds
from training_service.tasks.target_scale import TargetScale
from training_service.tasks.training_task import Outputs, Targets, Validation

Features = NDArray[np.float32]
_ROWS_AT_ONCE = 1024
EVERY_SECOND = slice(1, None, 2)
"""Of the settings to choose from: on the demo photos losses are within 0.004 of those with all, in 60 % of the time."""
# A feature that varies less than this share of its mean tells little more than float32's rounding errors. The share,
# as the features of an untrained network may all be tiny.
_MIN_VARIATION = 1e-4


@dataclass(frozen=True)
class LinearHead:
    """Outputs for features [n, d] are features @ weight.T + bias: weight [outputs, d], bias [outputs], both float32."""

    weight: Features
    bias: Features

    def outputs(self, features: Features) -> Outputs:
        """Return [n, outputs]."""
        return features @ self.weight.T + self.bias

    def unscaled(self, scale: TargetScale | None) -> LinearHead:
        """Return the head whose outputs are in the units of targets that were scaled."""
        return self if scale is None else LinearHead(*scale.folded(self.weight, self.bias))


@dataclass(frozen=True)
class Candidate:
    """One strength and how the head fitted with it does on validation rows."""

    strength: float
    head: LinearHead
    validation: Validation


class HeadFitter:
    """Fits heads on features in a space where that is quick: standardised, and no wider than there are rows.

    The weights that an L2 penalty leaves lie in the span of the rows, and rotating that span changes no length: so the
    fit in the rows' own basis is the same fit, many times faster where rows are few. Heads take features as they are.
    """

    def __init__(
        self, features: Features, task: TrainingTask, *, is_balanced: bool = False, folder: Path | None = None
    ) -> None:
        """Take all rows [n, d] that heads will be fitted on; targets are not looked at.

        What is made of the rows is mapped from files without names in `folder`, or else held in memory.
        """
        self.task = task
        self._is_balanced = is_balanced
        self._folder = folder
        self._mean = sum(features[part].sum(axis=0, dtype=np.float64) for part in _parts(features)) / len(features)
        squares = sum(np.square(features[part] - self._mean).sum(axis=0) for part in _parts(features))
        self._deviation = np.sqrt(squares / len(features))
        self._deviation[self._deviation <= _MIN_VARIATION * np.abs(self._mean)] = 1.0
        self._basis: NDArray[np.float64] | None = None
        if features.shape[0] < features.shape[1]:
            self._basis = np.linalg.qr(self._standardised(features).T)[0]

    def fit(self, features: Features, targets: Targets, num_outputs: int, strength: float) -> LinearHead:
        """Fit on some of the rows [n, d]; where targets are labels, each of them occurs.

        The standardisation is folded into the weights: (x - m) / s @ w + b = x @ (w / s) + (b - m @ (w / s)).
        """
        rows = self._rotated(self._standardised(features))
        rotated, bias = self.task.fit_head(rows, targets, num_outputs, strength, is_balanced=self._is_balanced)
        weight = (rotated if self._basis is None else rotated @ self._basis.T) / self._deviation
        return LinearHead(weight.astype(np.float32), (bias - weight @ self._mean).astype(np.float32))

    def _standardised(self, features: Features) -> NDArray[np.float64]:
        scaled = np.empty(features.shape) if self._folder is None else self._mapped(features.shape)
        for part in _parts(features):
            scaled[part] = (features[part] - self._mean) / self._deviation
        return scaled

    def _mapped(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        return cast("NDArray[np.float64]", mapped_array(self._folder or Path(), shape, np.float64))

    def _rotated(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return features if self._basis is None else features @ self._basis


def _parts(features: Features) -> Iterator[slice]:
    """Yield slices of the rows, few enough at once to be held in memory."""
    for start in range(0, len(features), _ROWS_AT_ONCE):
        yield slice(start, start + _ROWS_AT_ONCE)


def choose_head(
    fitter: HeadFitter,
    train: tuple[Features, Targets],
    validation: tuple[Features, Targets],
    num_outputs: int,
    on_candidate: Callable[[int, Candidate], None],
) -> Candidate:
    """Fit with each of the task's strengths on training rows and return the one of the lowest loss on validation rows.

    Other metrics would tie often on few rows. `on_candidate` is told of each, with its number from 1.
    """
    candidates = []
    for number, strength in enumerate(fitter.task.strengths, start=1):
        head = fitter.fit(*train, num_outputs, strength)
        found = fitter.task.validate(head.outputs(validation[0]), validation[1])
        candidates.append(Candidate(strength, head, found))
        on_candidate(number, candidates[-1])
    return min(candidates, key=lambda each: each.validation.loss)


def left_out_outputs(
    features: Features, targets: Targets, task: TrainingTask, num_outputs: int, folds: Folds, *, is_balanced: bool
) -> Outputs:
    """Return outputs for the rows that are left out once, each by a head that was fitted without its fold.

    All have the strength of the lowest loss. `folds` [n] are as the task's `folds` returns them for the targets.
    """
    fitter, strengths = HeadFitter(features, task, is_balanced=is_balanced), task.strengths[EVERY_SECOND]
    outputs = np.zeros((len(strengths), len(folds), num_outputs), np.float32)
    for fold in np.unique(folds[folds >= 0]):
        seen, unseen = folds != fold, folds == fold
        for each, strength in zip(outputs, strengths, strict=True):
            each[unseen] = fitter.fit(features[seen], targets[seen], num_outputs, strength).outputs(features[unseen])
    known = outputs[:, folds >= 0]
    return min(known, key=lambda each: task.validate(each, targets[folds >= 0]).loss)


def load_head(stage: nn.Module, head: LinearHead) -> None:
    """Copy a fitted head into the one linear layer of a head stage."""
    layer = _layer(stage)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))


def unscale_head(stage: nn.Module, scale: TargetScale | None) -> None:
    """Fold the scale of the targets into the one linear layer of a head stage."""
    layer = _layer(stage)
    weight, bias = (each.detach().cpu().numpy() for each in (layer.weight, layer.bias))
    load_head(stage, LinearHead(weight, bias).unscaled(scale))


def num_outputs(stage: nn.Module) -> int:
    """Return the number of a head stage's outputs."""
    return _layer(stage).out_features


def _layer(stage: nn.Module) -> nn.Linear:
    return next(module for module in stage.modules() if isinstance(module, nn.Linear))
