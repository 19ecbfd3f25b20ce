"""Fits the temperature that logits are divided by, so that scores say how often they are right.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training_service.tasks.classification.metrics import Labels, Logits, row_losses, softmax

LEAST, MOST = 0.05, 20.0
_NUM_HALVINGS = 18  # of the logarithm's range: to four digits
_DIGITS = 4
_NUM_FOLDS = 10
_MAX_CROSS_VALIDATED_ROWS = 2_000  # more rows tell no more, and each fold costs a fit
# On 233 photos (24 splits, 12 or 36 validation rows) no weight at all made the test log loss worse in 11 to 14 runs of
# 24, a weight of 20 in up to 3, and one of 50 in none with 36 rows.
_PRIOR_ROWS = 50


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature, 0.05 to 20, for rows [n, labels] that the head was not fitted on; 1 where none helps.

    It is kept only where the mean log loss of rows that were left out of a fit improves, by ten-fold cross-validation.
    Its logarithm is shrunk towards that of 1: log T = n / (n + 50) * log(best T), the posterior mean of a normal mean
    under a normal prior at 0 that counts as 50 rows (Gelman et al. 2013, "Bayesian Data Analysis", section 2.5).
    """
    if len(labels) < 2 or _cross_validated_gain(logits, labels) <= 0:
        return 1.0
    return round(_shrunk(logits, labels), _DIGITS)


def best_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature, 0.05 to 20, of the least cross entropy on exactly these rows.

    The loss is convex in 1 / temperature, so the place where its slope is 0 is found by halving. Targets are smoothed
    as Platt's are (1999): n rows that are all right do not show that the next is certain, and have a finite optimum.
    """
    targets = _smoothed(labels, logits.shape[1])
    low, high = math.log(LEAST), math.log(MOST)
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(logits, targets, math.exp(-middle)) > 0 else (low, middle)
    return math.exp((low + high) / 2)


def _shrunk(logits: Logits, labels: Labels) -> float:
    return math.pow(best_temperature(logits, labels), len(labels) / (len(labels) + _PRIOR_ROWS))


def _cross_validated_gain(logits: Logits, labels: Labels) -> float:
    """Return by how much the mean log loss of left-out rows falls, in nats; folds take rows in turn."""
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), _MAX_CROSS_VALIDATED_ROWS)).astype(np.int64)
    logits, labels = logits[chosen], labels[chosen]
    folds = np.arange(len(labels)) % _NUM_FOLDS
    gains = np.empty(len(labels))
    for fold in np.unique(folds):
        left_out = folds == fold
        temperature = _shrunk(logits[~left_out], labels[~left_out])
        rows, own = logits[left_out], labels[left_out]
        gains[left_out] = row_losses(rows, own) - row_losses(rows / temperature, own)
    return float(gains.mean())


def _smoothed(labels: Labels, num_labels: int) -> NDArray[np.float64]:
    """Return targets [n, labels]: (n + 1) / (n + 2) for a row's own label, the rest shared by the others."""
    rest = 1 / (len(labels) + 2)
    targets = np.full((len(labels), num_labels), rest / max(num_labels - 1, 1))
    targets[np.arange(len(labels)), labels] = 1 - rest
    return targets


def _slope(logits: Logits, targets: NDArray[np.float64], factor: float) -> float:
    """Return the slope of the cross entropy of softmax(factor * logits) by the factor."""
    return float(((softmax(logits * factor) - targets) * logits).sum(axis=1).mean())
