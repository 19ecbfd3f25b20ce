"""Measures predictions of numbers, in the targets' own units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import RESIDUAL_SHARES, Metrics, RegressionDetail, TargetMetrics
from training_service.tasks.bootstrap import Counts, row_intervals
from training_service.tasks.sampled import Sampled
from training_service.tasks.training_task import Answers, Outputs, Validation

Numbers = NDArray[np.float64]
_FIGURES = ("r2", "rmse", "mae")


def measure(answers: Answers, split: str) -> Metrics:
    """Return the quality of outputs [n, targets] against the truth [n, targets], each figure the mean over targets.

    There is no R2 of a target that is the same in all rows, and none at all where no target has one.
    """
    truth = answers.targets.astype(np.float64)
    residuals = answers.outputs - truth
    parts, units = _parts(residuals, truth)
    found = _figures(np.ones((1, len(truth))), parts, *units)[0]
    known = [name for name, value in zip(_FIGURES, found, strict=True) if np.isfinite(value)]
    samples = row_intervals(len(truth), _sampled(parts, units))
    intervals = dict(zip(_FIGURES, samples, strict=True))
    values = dict(zip(_FIGURES, map(float, found), strict=True))
    return Metrics(
        split=split,
        num_rows=len(truth),
        values={name: values[name] for name in known},
        intervals={name: intervals[name] for name in known},
        detail=RegressionDetail(
            tuple(_target_metrics(name, residuals[:, i], truth[:, i]) for i, name in enumerate(answers.task.names))
        ),
    )


def validate(outputs: Outputs, targets: NDArray[np.float32]) -> Validation:
    """Return R2, the mean over targets, and the mean squared error."""
    truth = targets.astype(np.float64)
    squares = np.square(outputs - truth)
    spread = truth.var(axis=0)
    shares = 1 - squares.mean(axis=0)[spread > 0] / spread[spread > 0]
    return Validation(float(shares.mean()) if len(shares) else 0.0, float(squares.mean()))


def row_losses(outputs: Outputs, targets: NDArray[np.float32]) -> Numbers:
    """Return the squared error of each row, [n]: the mean over targets."""
    losses: Numbers = np.square(outputs - targets.astype(np.float64)).mean(axis=1)
    return losses


def sampled(answers: Answers, name: str) -> Sampled:
    """Return R2, RMSE or MAE of samples of the rows, by its name, the mean over targets."""
    truth = answers.targets.astype(np.float64)
    figures, column = _sampled(*_parts(answers.outputs - truth, truth)), _FIGURES.index(name)
    return lambda counts: figures(counts)[:, column]


def _sampled(parts: list[Numbers], units: tuple[Numbers, Numbers]) -> Sampled:
    """Return R2, RMSE and MAE of samples of the rows: [samples, 3]."""
    single = [part.astype(np.float32) for part in parts]
    return lambda counts: _figures(counts, single, *units)


def _parts(residuals: Numbers, truth: Numbers) -> tuple[list[Numbers], tuple[Numbers, Numbers]]:
    """Return the parts that figures are made of, and the units of residuals and of centred targets."""
    centred = truth - truth.mean(axis=0)
    units = _unit(residuals), _unit(centred)
    in_units = residuals / units[0], centred / units[1]
    return [np.abs(in_units[0]), np.square(in_units[0]), in_units[1], np.square(in_units[1])], units


def _unit(numbers: Numbers) -> Numbers:
    """Return the largest size of each column, [targets]: in this unit squares of any numbers fit into float32."""
    most = np.abs(numbers).max(axis=0)
    unit: Numbers = np.where(most > 0, most, 1)
    return unit


def _figures(
    counts: Counts | Numbers, parts: list[Numbers] | list[NDArray[np.float32]], residual_unit: Numbers, unit: Numbers
) -> Numbers:
    """Return R2, RMSE and MAE of samples, [samples, 3], whose counts are [samples, rows].

    `parts` are absolute and squared residuals, in units [targets] of their own, and centred targets and their squares,
    in other ones: [rows, targets] each.
    """
    num_rows = counts.sum(axis=1, keepdims=True)
    absolute, squares, means, spreads = ((counts @ part).astype(np.float64) / num_rows for part in parts)
    variance = spreads - np.square(means)
    varies = variance > np.finfo(np.float32).eps * np.maximum(spreads, np.finfo(np.float64).tiny)
    shares = squares / np.where(varies, variance, 1) * np.square(residual_unit / unit)
    with np.errstate(invalid="ignore"):  # no target varies
        r2 = np.where(varies, 1 - shares, 0).sum(axis=1) / varies.sum(axis=1)
    rmse, mae = (np.sqrt(squares) * residual_unit).mean(axis=1), (absolute * residual_unit).mean(axis=1)
    return np.stack([r2, rmse, mae], axis=1)


def _target_metrics(name: str, residuals: Numbers, truth: Numbers) -> TargetMetrics:
    square, spread = float(np.square(residuals).mean()), float(truth.var())
    return TargetMetrics(
        target=name,
        mae=float(np.abs(residuals).mean()),
        rmse=float(np.sqrt(square)),
        r2=1 - square / spread if spread > 0 else None,
        residual_quantiles=tuple(float(each) for each in np.quantile(residuals, RESIDUAL_SHARES)),
    )
