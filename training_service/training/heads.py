"""Fits a linear head on features: multinomial logistic regression, ready to run as one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from training_service.arrays.scratch import mapped_array
from training_service.recipes.recipe import ClassWeights
from training_service.tasks.classification.metrics import cross_entropy

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse L2 strengths to choose from, scikit-learn's C."""
_MAX_ITERATIONS = 500
_ROWS_AT_ONCE = 1024
# A feature that varies less than this share of its mean tells little more than float32's rounding errors. The share,
# as the features of an untrained network may all be tiny.
_MIN_VARIATION = 1e-4


@dataclass(frozen=True)
class LinearHead:
    """Logits of features [n, d] are features @ weight.T + bias; weight [labels, d] and bias [labels] are float32."""

    weight: Features
    bias: Features

    def logits(self, features: Features) -> Features:
        """Return [n, labels]."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Candidate:
    """One strength and how the head fitted with it does on validation rows."""

    strength: float
    head: LinearHead
    accuracy: float
    loss: float


class HeadFitter:
    """Fits heads on features in a space where that is quick: standardised, and no wider than there are rows.

    The weights that an L2 penalty leaves lie in the span of the rows, and rotating that span changes no length: so the
    fit in the rows' own basis is the same fit, many times faster where rows are few. Heads take features as they are.
    """

    def __init__(
        self, features: Features, class_weights: ClassWeights = ClassWeights.NONE, folder: Path | None = None
    ) -> None:
        """Take all rows [n, d] that heads will be fitted on; labels are not looked at.

        What is made of the rows is mapped from files without names in `folder`, or else held in memory.
        """
        self._class_weight = "balanced" if class_weights is ClassWeights.BALANCED else None
        self._folder = folder
        self._mean = sum(features[part].sum(axis=0, dtype=np.float64) for part in _parts(features)) / len(features)
        squares = sum(np.square(features[part] - self._mean).sum(axis=0) for part in _parts(features))
        self._deviation = np.sqrt(squares / len(features))
        self._deviation[self._deviation <= _MIN_VARIATION * np.abs(self._mean)] = 1.0
        self._basis: NDArray[np.float64] | None = None
        if features.shape[0] < features.shape[1]:
            self._basis = np.linalg.qr(self._standardised(features).T)[0]

    def fit(self, features: Features, labels: Labels, num_labels: int, strength: float) -> LinearHead:
        """Fit on some of the rows [n, d], with labels 0 to num_labels - 1, each of which occurs.

        The standardisation is folded into the weights: (x - m) / s @ w + b = x @ (w / s) + (b - m @ (w / s)).
        """
        model = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS, class_weight=self._class_weight)
        model.fit(self._rotated(self._standardised(features)), labels)
        rotated, bias = model.coef_, model.intercept_
        if num_labels == 2:  # one row of weights, for the second label against the first
            rotated, bias = np.concatenate([np.zeros_like(rotated), rotated]), np.array([0.0, bias[0]])
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
    train: tuple[Features, Labels],
    validation: tuple[Features, Labels],
    num_labels: int,
    on_candidate: Callable[[int, Candidate], None],
) -> Candidate:
    """Fit with each strength on training rows and return the best on validation rows: the lowest cross entropy.

    Accuracy would tie often on few rows. `on_candidate` is told of each, with its number from 1.
    """
    candidates = []
    for number, strength in enumerate(STRENGTHS, start=1):
        head = fitter.fit(*train, num_labels, strength)
        logits = head.logits(validation[0])
        accuracy = float((logits.argmax(axis=1) == validation[1]).mean())
        candidates.append(Candidate(strength, head, accuracy, cross_entropy(logits, validation[1])))
        on_candidate(number, candidates[-1])
    return min(candidates, key=lambda each: each.loss)


def load_head(stage: nn.Module, head: LinearHead) -> None:
    """Copy a fitted head into the one linear layer of a head stage."""
    layer = next(module for module in stage.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))
