"""Fits the preprocessing stages of a table to training rows: fills, means, deviations, quantiles, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from model_store.architectures.table_stages import MIN_SCALE, Impute, Quantile, Select, Standardise
from training_service.arrays.feature_scores import f_scores, mutual_information
from training_service.modalities.modality import FittedOn, StageFitter
from training_service.recipes.recipe import FeatureSelection

Columns = NDArray[np.float32]
Numbers = NDArray[np.float64]
_MAX_SCORE = 1e30
_MAX_ROWS = 10_000
"""More rows change an estimate of mutual information by little, and take longer than their number."""


def fit_impute(stage: nn.Module, rows: FittedOn) -> dict[str, Columns]:  # noqa: ARG001  as each
    """Return the median of each column [n, k], of cells that are not missing; 0 where all are."""
    numbers = rows.values
    known = ~np.isnan(numbers)
    fill = [np.median(column[each]) if each.any() else 0.0 for column, each in zip(numbers.T, known.T, strict=True)]
    return {"fill": np.array(fill, np.float32)}


def fit_standardise(stage: nn.Module, rows: FittedOn) -> dict[str, Columns]:  # noqa: ARG001
    """Return mean and standard deviation of each column; 1 for a column of one number."""
    values = rows.values.astype(np.float64)
    scale = values.std(axis=0)
    least = np.maximum(MIN_SCALE, 1e-6 * np.abs(values.mean(axis=0)))  # float32 has seven digits
    scale = np.where(scale > least, scale, 1.0)
    return {"mean": values.mean(axis=0).astype(np.float32), "scale": scale.astype(np.float32)}


def fit_quantile(stage: nn.Module, rows: FittedOn) -> dict[str, Columns]:
    """Return quantiles of each column, evenly spread."""
    num_quantiles = stage.get_buffer("quantiles").shape[1]
    return {"quantiles": np.quantile(rows.values, np.linspace(0, 1, num_quantiles), axis=0).T.astype(np.float32)}


def fit_select(stage: nn.Module, rows: FittedOn) -> dict[str, Columns]:  # noqa: ARG001
    """Keep the features of the largest scores among those that vary; of equal scores the last ones, as SelectKBest.

    The score is the recipe's, and without one ANOVA's F, by which none is left out.
    """
    x, recipe = rows.values, rows.recipe
    kept = x.max(axis=0) > x.min(axis=0)
    scores = np.zeros(x.shape[1])
    if kept.any() and len(x) > 2:
        scores[kept] = _scores(x[:, kept].astype(np.float64), rows)
        if recipe.select is FeatureSelection.VARIANCE:
            scores[kept] *= np.square(_units(rows.before, len(scores))[kept])
            kept &= scores > (recipe.select_threshold or 0.0)
        if recipe.select is not None and recipe.select_count is not None:
            order = np.argsort(np.where(kept, scores, -np.inf), kind="stable")
            kept[order[: -recipe.select_count]] = False
    return {"kept": kept.astype(np.float32), "scores": np.clip(scores, 0, _MAX_SCORE).astype(np.float32)}


def _scores(x: Numbers, rows: FittedOn) -> Numbers:
    if rows.recipe.select is FeatureSelection.VARIANCE:
        variances: Numbers = x.var(axis=0)
        return variances
    if rows.recipe.select is FeatureSelection.MUTUAL_INFORMATION:
        chosen = np.linspace(0, len(x) - 1, min(len(x), _MAX_ROWS)).astype(np.int64)
        x, targets = x[chosen], rows.targets[chosen]
        high = x == x.max(axis=0)
        discrete = (high | (x == x.min(axis=0))).all(axis=0)
        return mutual_information(np.where(discrete, high, x), targets, discrete)
    return f_scores(x, rows.targets)


def _units(before: Sequence[nn.Module], size: int) -> Numbers:
    """Return what 1 is in the units of each feature [size]: deviations of numbers that were standardised, else 1."""
    units = np.ones(size)
    for stage in before:
        if isinstance(stage, Standardise):
            scale = stage.get_buffer("scale").numpy()
            units[: len(scale)] = scale
    return units


FITTERS: Mapping[type[nn.Module], StageFitter] = {
    Impute: fit_impute,
    Standardise: fit_standardise,
    Quantile: fit_quantile,
    Select: fit_select,
}
