"""Fits a linear head on features: multinomial logistic regression, ready to run as one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from training_service.evaluate import cross_entropy

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Inverse L2 strengths to choose from, scikit-learn's C."""
_MAX_ITERATIONS = 500
# A feature that never varies has no scale; dividing by this would only magnify rounding errors.
_MIN_DEVIATION = 1e-6


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


def fit_head(features: Features, labels: Labels, num_labels: int, strength: float) -> LinearHead:
    """Fit on features [n, d] and labels 0 to num_labels - 1, each of which occurs.

    Features are standardised for the fit; the standardisation is then folded into the weights, so that the head takes
    features as they are: (x - m) / s @ w + b = x @ (w / s) + (b - m / s @ w).
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation < _MIN_DEVIATION] = 1.0
    model = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS)
    model.fit((features - mean) / deviation, labels)
    weight, bias = model.coef_ / deviation, model.intercept_
    if num_labels == 2:  # one row of weights, for the second label against the first
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.array([0.0, bias[0]])
    return LinearHead(weight.astype(np.float32), (bias - weight @ mean).astype(np.float32))


def choose_head(
    train: tuple[Features, Labels],
    validation: tuple[Features, Labels],
    num_labels: int,
    on_candidate: Callable[[int, Candidate], None],
    strengths: Sequence[float] = STRENGTHS,
) -> Candidate:
    """Fit with each strength on training rows and return the best on validation rows: the lowest cross entropy.

    Accuracy would tie often on few rows. `on_candidate` is told of each, with its number from 1.
    """
    candidates = []
    for number, strength in enumerate(strengths, start=1):
        head = fit_head(*train, num_labels, strength)
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
