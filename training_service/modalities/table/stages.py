"""Fits the preprocessing stages of a table to training rows: fills, means, deviations, quantiles, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from model_store.architectures.table_stages import MIN_SCALE, Impute, Quantile, Select, Standardise
from training_service.arrays.feature_scores import f_scores

Columns = NDArray[np.float32]


def fit_impute(stage: nn.Module, numbers: Columns, targets: NDArray[Any]) -> dict[str, Columns]:  # noqa: ARG001  as each
    """Return the median of each column [n, k], of cells that are not missing; 0 where all are."""
    known = ~np.isnan(numbers)
    fill = [np.median(column[each]) if each.any() else 0.0 for column, each in zip(numbers.T, known.T, strict=True)]
    return {"fill": np.array(fill, np.float32)}


def fit_standardise(stage: nn.Module, numbers: Columns, targets: NDArray[Any]) -> dict[str, Columns]:  # noqa: ARG001
    """Return mean and standard deviation of each column; 1 for a column of one number."""
    values = numbers.astype(np.float64)
    scale = values.std(axis=0)
    least = np.maximum(MIN_SCALE, 1e-6 * np.abs(values.mean(axis=0)))  # float32 has seven digits
    scale = np.where(scale > least, scale, 1.0)
    return {"mean": values.mean(axis=0).astype(np.float32), "scale": scale.astype(np.float32)}


def fit_quantile(stage: nn.Module, numbers: Columns, targets: NDArray[Any]) -> dict[str, Columns]:  # noqa: ARG001
    """Return quantiles of each column, evenly spread."""
    num_quantiles = stage.get_buffer("quantiles").shape[1]
    return {"quantiles": np.quantile(numbers, np.linspace(0, 1, num_quantiles), axis=0).T.astype(np.float32)}


def fit_select(stage: nn.Module, x: Columns, targets: NDArray[Any]) -> dict[str, Columns]:  # noqa: ARG001
    """Keep the features that vary; the score of each is ANOVA's F, the greatest of several targets."""
    varies = x.max(axis=0) > x.min(axis=0)
    scores = np.zeros(x.shape[1])
    if varies.any() and len(x) > 2:
        scores[varies] = f_scores(x[:, varies].astype(np.float64), targets)
    return {"kept": varies.astype(np.float32), "scores": np.clip(scores, 0, 1e30).astype(np.float32)}


FITTERS: Mapping[type[nn.Module], Callable[[nn.Module, Columns, NDArray[Any]], dict[str, Columns]]] = {
    Impute: fit_impute,
    Standardise: fit_standardise,
    Quantile: fit_quantile,
    Select: fit_select,
}
"""What a stage's buffers become, by the tensor that it reads [n, …] and the targets of the same rows."""
