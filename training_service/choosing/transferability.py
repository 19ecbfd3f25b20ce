"""Scores of features without a fitted head: how well they will transfer to the targets of a dataset.

They stand beside the cross-validated probe as diagnostics: none of them decides.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training_service.tasks import TrainingTask
from training_service.tasks.training_task import Numbers, Outputs, Targets

NUM_NEIGHBOURS = 5
_MAX_STEPS = 100
_TOLERANCE = 1e-6
_TINY = 1e-12
_ROWS_AT_ONCE = 256


def h_score(features: Numbers, labels: NDArray[np.int64]) -> float:
    """Return the shrinkage H-score of features [n, d] for labels [n]: 0 or more, higher is better.

    The trace of the inverse covariance of the features, shrunk as by Ledoit and Wolf (2004), times the covariance of
    the mean features of the labels (Ibrahim, Ponomareva and Mazumder 2021, "Newer is not always better",
    arXiv:2110.06893, equation 4).
    """
    centred = features - features.mean(axis=0)
    _, places = np.unique(labels, return_inverse=True)
    sums = np.zeros((int(places.max()) + 1, features.shape[1]))
    np.add.at(sums, places, centred)
    counts = np.bincount(places)
    means = sums * np.sqrt(1 / (counts * len(features)))[:, None]
    shrinkage, mean_variance = _shrinkage(centred)
    # Means lie in the span of the rows, where the shrunk covariance has the directions of the plain one.
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    between = np.square(means @ directions.T).sum(axis=0)
    within = (1 - shrinkage) * singular**2 / len(features) + shrinkage * mean_variance
    return float((1 - shrinkage) * (between[within > 0] / within[within > 0]).sum())


def _shrinkage(centred: Numbers) -> tuple[float, float]:
    """Return the weight of the mean variance in the covariance of rows [n, d], and that variance (Ledoit and Wolf)."""
    num_rows, num_columns = centred.shape
    mean_variance = float(np.square(centred).sum()) / num_rows / num_columns
    products = centred @ centred.T if num_rows < num_columns else centred.T @ centred
    squares = float(np.square(products).sum()) / num_rows**2
    noise = (float(np.square(np.square(centred).sum(axis=1)).sum()) / num_rows - squares) / (num_rows * num_columns)
    spread = squares / num_columns - mean_variance**2
    return (min(noise, spread) / spread if noise > 0 and spread > 0 else 0.0), mean_variance


def log_me(features: Numbers, targets: Targets, num_outputs: int) -> float:
    """Return the logarithm of the maximum evidence of features [n, d], by row, the mean over the outputs.

    Targets are labels [n], of which each is one output of 0 and 1, or numbers [n, outputs]. The evidence is that of a
    Bayesian linear regression without a bias, the precisions of its prior and of its noise by a fixed point (You, Liu,
    Wang and Long 2021, "LogME", arXiv:2102.11005; algorithm 3 of arXiv:2110.10545). Higher is better.
    """
    columns = np.eye(num_outputs)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    return float(np.mean([_evidence(left, singular, column, features.shape[1]) for column in columns.T]))


def _evidence(left: Numbers, singular: Numbers, target: Numbers, num_features: int) -> float:
    """Return the largest log evidence by row of one target [n]."""
    num_rows, squares = len(target), singular**2
    projected = left.T @ target
    outside = max(float(target @ target - projected @ projected), 0.0)
    alpha = beta = 1.0
    for _ in range(_MAX_STEPS):
        gamma = float((beta * squares / (alpha + beta * squares)).sum())
        weights, error = _fit(alpha, beta, singular, projected, outside)
        new_alpha = gamma / max(weights, _TINY)
        new_beta = max(num_rows - gamma, _TINY) / max(error, _TINY)
        change = abs(new_alpha / new_beta - alpha / beta) / (alpha / beta)
        alpha, beta = new_alpha, new_beta
        if change < _TOLERANCE:
            break
    weights, error = _fit(alpha, beta, singular, projected, outside)
    determinant = float(np.log(alpha + beta * squares).sum()) + (num_features - len(squares)) * math.log(alpha)
    fitted = num_features * math.log(alpha) + num_rows * math.log(beta) - beta * error - alpha * weights
    return 0.5 * (fitted - determinant - num_rows * math.log(2 * math.pi)) / num_rows


def _fit(alpha: float, beta: float, singular: Numbers, projected: Numbers, outside: float) -> tuple[float, float]:
    """Return the squared length of the mean weights, and the squared error of the fit."""
    squares = singular**2
    weights = beta * singular * projected / (alpha + beta * squares)
    residuals = projected * alpha / (alpha + beta * squares)
    return float(weights @ weights), float(residuals @ residuals) + outside


def neighbour_metric(features: Numbers, targets: Targets, task: TrainingTask, num_outputs: int) -> float:
    """Return the task's headline metric where each row is answered by its nearest neighbours, itself left out.

    Of features [n, d], standardised, the five nearest by Euclidean distance; labels are voted for, numbers are
    averaged. With k-nearest neighbours as in Renggli et al. 2022, "Which model to transfer?", arXiv:2010.06402.
    """
    deviation = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    columns = np.eye(num_outputs)[targets] if targets.ndim == 1 else targets.astype(np.float64)
    near = _nearest(scaled, min(NUM_NEIGHBOURS, len(scaled) - 1))
    means: Outputs = columns[near].mean(axis=1).astype(np.float32)
    # The outputs of a multi-label head are logits: a label is answered where its logit is above 0.
    is_multi_label = task.has_classes and targets.ndim > 1
    return task.validate(means - np.float32(0.5) if is_multi_label else means, targets).metric


def _nearest(rows: Numbers, num_neighbours: int) -> NDArray[np.int64]:
    """Return the places [n, k] of the nearest other rows of each."""
    squares = np.square(rows).sum(axis=1)
    found = np.empty((len(rows), num_neighbours), np.int64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = np.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))
        distances = squares - 2 * rows[part] @ rows.T
        distances[np.arange(len(part)), part] = np.inf
        found[part] = np.argpartition(distances, num_neighbours - 1, axis=1)[:, :num_neighbours]
    return found
