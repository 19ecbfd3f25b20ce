"""How far figures of a confusion matrix may be trusted: 95 % intervals from bootstrap samples of its rows.

To draw n rows with replacement and count them is to draw from the multinomial distribution over the matrix's cells, so
no row is ever looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import Interval

NUM_SAMPLES = 1000
_SAMPLES_AT_ONCE = 100  # each takes memory for every cell that is not empty
_PERCENTILES = (2.5, 97.5)
Counts = NDArray[np.int64]


def intervals(matrix: Counts, seed: int = 0) -> tuple[Interval, Interval]:
    """Return where accuracy and macro F1 lie, by a confusion matrix [true, predicted] of at least one row.

    Percentiles of 1,000 samples (Efron and Tibshirani 1993, chapter 13); equal matrices and seeds give equal intervals.
    """
    true, predicted = matrix.nonzero()
    counts, random = matrix[true, predicted], np.random.default_rng(seed)
    num_rows = int(counts.sum())
    found = [
        figures(random.multinomial(num_rows, counts / num_rows, _SAMPLES_AT_ONCE), true, predicted, len(matrix))
        for _ in range(NUM_SAMPLES // _SAMPLES_AT_ONCE)
    ]
    (low, high) = np.percentile(np.concatenate(found), _PERCENTILES, axis=0)
    return Interval(float(low[0]), float(high[0])), Interval(float(low[1]), float(high[1]))


def macro_f1(
    right: NDArray[np.number], num_true: NDArray[np.number], num_predicted: NDArray[np.number]
) -> NDArray[np.float64]:
    """Return the mean over labels, the last axis, of F1; labels that neither occur nor are predicted are left out."""
    found = num_true + num_predicted
    f1 = 2 * right / np.maximum(found, 1)
    mean: NDArray[np.float64] = f1.sum(axis=-1) / (found > 0).sum(axis=-1)
    return mean


def figures(samples: NDArray[np.number], true: Counts, predicted: Counts, num_labels: int) -> NDArray[np.float64]:
    """Return accuracy and macro F1, [samples, 2], of counts [samples, cells] of cells (or rows) with these labels."""
    is_right = true == predicted
    right = _sums(samples[:, is_right], true[is_right], num_labels)
    accuracy = right.sum(axis=1) / samples.sum(axis=1)
    f1 = macro_f1(right, _sums(samples, true, num_labels), _sums(samples, predicted, num_labels))
    return np.stack([accuracy, f1], axis=1)


def _sums(samples: NDArray[np.number], labels: Counts, num_labels: int) -> Counts:
    """Add counts [samples, cells] up by the label of each cell: [samples, labels]."""
    sums = np.zeros((len(samples), num_labels), np.int64)
    if len(labels):
        order = np.argsort(labels, kind="stable")
        found, starts = np.unique(labels[order], return_index=True)
        sums[:, found] = np.add.reduceat(samples[:, order], starts, axis=1)
    return sums
