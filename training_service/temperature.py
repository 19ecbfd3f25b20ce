"""Fits the temperature that logits are divided by, so that scores say how often they are right.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training_service.evaluate import Labels, Logits, softmax

LEAST, MOST = 0.05, 20.0
_NUM_HALVINGS = 18  # of the logarithm's range: to four digits
_DIGITS = 4


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature, 0.05 to 20, of the least cross entropy on rows that the head was not fitted on.

    The loss is convex in 1 / temperature, so the place where its slope is 0 is found by halving. Targets are smoothed
    as Platt's are (1999): n rows that are all right do not show that the next is certain, and have a finite optimum.
    """
    targets = _smoothed(labels, logits.shape[1])
    low, high = math.log(LEAST), math.log(MOST)
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(logits, targets, math.exp(-middle)) > 0 else (low, middle)
    return round(math.exp((low + high) / 2), _DIGITS)


def _smoothed(labels: Labels, num_labels: int) -> NDArray[np.float64]:
    """Return targets [n, labels]: (n + 1) / (n + 2) for a row's own label, the rest shared by the others."""
    rest = 1 / (len(labels) + 2)
    targets = np.full((len(labels), num_labels), rest / max(num_labels - 1, 1))
    targets[np.arange(len(labels)), labels] = 1 - rest
    return targets


def _slope(logits: Logits, targets: NDArray[np.float64], factor: float) -> float:
    """Return the slope of the cross entropy of softmax(factor * logits) by the factor."""
    return float(((softmax(logits * factor) - targets) * logits).sum(axis=1).mean())
