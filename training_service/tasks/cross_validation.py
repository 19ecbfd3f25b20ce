"""Folds for cross-validation: which rows are left out together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_FOLDS = 5
NEVER = -1
"""The fold of a row that is never left out."""
Folds = NDArray[np.int64]


def spread_folds(targets: NDArray[np.float32] | NDArray[np.int64], num_folds: int = NUM_FOLDS) -> Folds:
    """Return a fold for each of the targets [n, …], 0 to `num_folds` - 1, each with targets of all sizes.

    Rows take the folds in turn, in the order of their targets: stratified folds, of labels and of numbers alike.
    """
    columns = targets if targets.ndim > 1 else targets[:, None]
    folds = np.empty(len(targets), np.int64)
    folds[np.lexsort(columns.T[::-1])] = np.arange(len(targets)) % num_folds
    return folds


def label_folds(labels: NDArray[np.int64], num_folds: int = NUM_FOLDS) -> Folds:
    """Do the same for labels [n]; the only row of a label is never left out: a fit without it would not know the label.

    Where a label has two rows or more, they are in folds of their own, as far as there are enough.
    """
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    folds = np.full(len(labels), NEVER)
    several = np.flatnonzero(counts[places] > 1)
    folds[several] = spread_folds(labels[several], num_folds)
    return folds
