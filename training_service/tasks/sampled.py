"""Metrics of bootstrap samples of rows that are means of a value of each row, or depend on how scores rank rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training_service.tasks.bootstrap import Counts

Numbers = NDArray[np.float64]
Sampled = Callable[[Counts], Numbers]
"""A metric of bootstrap samples, [samples], by how often each has each row: counts [samples, rows]."""
_SAMPLES_AT_ONCE = 50  # a rank needs several float64 for each row of each sample


def mean_of(values: NDArray[np.number] | NDArray[np.bool_]) -> Sampled:
    """Return the mean of the values of rows [n]: a share of rows that are right, a loss."""
    single = values.astype(np.float32)

    def mean(counts: Counts) -> Numbers:
        with np.errstate(invalid="ignore"):  # a loss may be infinite: the mean has no value then
            means: Numbers = (counts @ single).astype(np.float64) / counts.sum(axis=1)
        return means

    return mean


def area_under_roc(scores: Numbers, is_true: NDArray[np.bool_]) -> Sampled:
    """Return the area under the ROC curve, the mean over columns of scores [n, labels] and truth [n, labels].

    It is the share of pairs of a true and a false row in which the true one scores higher; equal scores count half. A
    column without both kinds of rows in a sample is left out there; NaN where no column is left.
    """
    columns = [_roc_of(scores[:, label], is_true[:, label]) for label in range(scores.shape[1])]
    return _mean_over(columns)


def average_precision(scores: Numbers, is_true: NDArray[np.bool_]) -> Sampled:
    """Return the mean over columns of scores [n, labels] of the average precision; as `area_under_roc` otherwise."""
    columns = [_precision_of(scores[:, label], is_true[:, label]) for label in range(scores.shape[1])]
    return _mean_over(columns)


def _mean_over(columns: list[Sampled]) -> Sampled:
    def mean(counts: Counts) -> Numbers:
        parts = [counts[at : at + _SAMPLES_AT_ONCE] for at in range(0, len(counts), _SAMPLES_AT_ONCE)]
        found = np.concatenate([np.stack([column(part) for column in columns], axis=1) for part in parts])
        is_known = np.isfinite(found)
        with np.errstate(invalid="ignore"):
            means: Numbers = np.where(is_known, found, 0).sum(axis=1) / is_known.sum(axis=1)
        return means

    return mean


def _roc_of(scores: Numbers, is_true: NDArray[np.bool_]) -> Sampled:
    below, up_to = (np.searchsorted(np.sort(scores[~is_true]), scores[is_true], side) for side in ("left", "right"))
    order = np.argsort(scores[~is_true], kind="stable")

    def area(counts: Counts) -> Numbers:
        true, false = counts[:, is_true].astype(np.float64), counts[:, ~is_true][:, order].astype(np.float64)
        sums = _running_sums(false)
        with np.errstate(invalid="ignore"):
            areas: Numbers = (true * (sums[:, below] + sums[:, up_to])).sum(axis=1) / (
                2 * true.sum(axis=1) * sums[:, -1]
            )
        return areas

    return area


def _precision_of(scores: Numbers, is_true: NDArray[np.bool_]) -> Sampled:
    order = np.argsort(-scores, kind="stable")
    ends = np.searchsorted(-scores[order], -scores[is_true], "right")  # rows that score at least as high

    def precision(counts: Counts) -> Numbers:
        own, all_rows = counts[:, is_true].astype(np.float64), counts[:, order].astype(np.float64)
        right = _running_sums(all_rows * is_true[order])[:, ends]
        with np.errstate(invalid="ignore"):
            shares = np.where(own > 0, own * right / np.maximum(_running_sums(all_rows)[:, ends], 1), 0)
            means: Numbers = shares.sum(axis=1) / own.sum(axis=1)
        return means

    return precision


def _running_sums(values: Numbers) -> Numbers:
    """Return the sums of the first 0, 1, … values of each row, [samples, n + 1]."""
    return np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)
