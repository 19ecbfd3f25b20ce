"""Fits the temperature that outputs are divided by, so that scores say how often they are right.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.05, 20.0
_NUM_HALVINGS = 18  # of the logarithm's range: to four digits
_DIGITS = 4
_NUM_FOLDS = 10
_MAX_CROSS_VALIDATED_ROWS = 2_000  # more rows tell no more, and each fold costs a fit
# On 233 rows (24 splits, 12 or 36 validation rows) no weight at all made the test log loss worse in 11 to 14 runs of
# 24, a weight of 20 in up to 3, and one of 50 in none with 36 rows.
_PRIOR_ROWS = 50
Outputs = NDArray[np.float32]
Targets = NDArray[Any]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Likelihood:
    """How outputs [n, outputs] become scores, and what the scores say of targets [n, …]."""

    scores: Callable[[Outputs], Numbers]
    """The scores [n, outputs]: softmax, or sigmoid."""
    row_losses: Callable[[Outputs, Targets], Numbers]
    """The negative log likelihood of each row's target, [n], in nats."""
    smoothed: Callable[[Targets, int], Numbers]
    """Targets as scores [n, outputs], not as sure as 0 and 1: so that few rows have a finite optimum."""


def fit_temperature(likelihood: Likelihood, outputs: Outputs, targets: Targets) -> float:
    """Return the temperature, 0.05 to 20, for rows [n, outputs] that the head was not fitted on; 1 where none helps.

    It is kept only where the mean log loss of rows that were left out of a fit improves, by ten-fold cross-validation.
    Its logarithm is shrunk towards that of 1: log T = n / (n + 50) * log(best T), the posterior mean of a normal mean
    under a normal prior at 0 that counts as 50 rows (Gelman et al. 2013, "Bayesian Data Analysis", section 2.5).
    """
    if len(targets) < 2 or _cross_validated_gain(likelihood, outputs, targets) <= 0:
        return 1.0
    return round(_shrunk(likelihood, outputs, targets), _DIGITS)


def best_temperature(likelihood: Likelihood, outputs: Outputs, targets: Targets) -> float:
    """Return the temperature, 0.05 to 20, of the least log loss on exactly these rows.

    The loss is convex in 1 / temperature, so the place where its slope is 0 is found by halving. Targets are smoothed
    as Platt's are (1999): n rows that are all right do not show that the next is certain, and have a finite optimum.
    """
    smoothed = likelihood.smoothed(targets, outputs.shape[1])
    low, high = math.log(LEAST), math.log(MOST)
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        is_above = _slope(likelihood, outputs, smoothed, math.exp(-middle)) > 0
        low, high = (middle, high) if is_above else (low, middle)
    return math.exp((low + high) / 2)


def _shrunk(likelihood: Likelihood, outputs: Outputs, targets: Targets) -> float:
    weight = len(targets) / (len(targets) + _PRIOR_ROWS)
    return math.pow(best_temperature(likelihood, outputs, targets), weight)


def _cross_validated_gain(likelihood: Likelihood, outputs: Outputs, targets: Targets) -> float:
    """Return by how much the mean log loss of left-out rows falls, in nats; folds take rows in turn."""
    chosen = np.linspace(0, len(targets) - 1, min(len(targets), _MAX_CROSS_VALIDATED_ROWS)).astype(np.int64)
    outputs, targets = outputs[chosen], targets[chosen]
    folds = np.arange(len(targets)) % _NUM_FOLDS
    gains = np.empty(len(targets))
    for fold in np.unique(folds):
        left_out = folds == fold
        temperature = _shrunk(likelihood, outputs[~left_out], targets[~left_out])
        rows, own = outputs[left_out], targets[left_out]
        gains[left_out] = likelihood.row_losses(rows, own) - likelihood.row_losses(rows / temperature, own)
    return float(gains.mean())


def _slope(likelihood: Likelihood, outputs: Outputs, smoothed: Numbers, factor: float) -> float:
    """Return the slope of the log loss of the scores of factor * outputs, by the factor."""
    return float(((likelihood.scores(outputs * factor) - smoothed) * outputs).sum(axis=1).mean())
