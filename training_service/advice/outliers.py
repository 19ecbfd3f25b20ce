"""Rows that are far from all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NUM_NEIGHBOURS = 10
_LEAST_DEVIATIONS = 5.0
_TO_DEVIATION = 1.4826  # from a median absolute deviation, for a normal distribution
_ROWS_AT_ONCE = 512


def outliers(features: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the rows [n, d] whose mean distance to their nearest neighbours is extreme, the farthest first.

    Extreme is five robust deviations above the median, of the logarithm of distances: they are skewed. Features are
    standardised first. Twenty rows or fewer have none.
    """
    if len(features) <= 2 * _NUM_NEIGHBOURS:
        return np.zeros(0, np.int64)
    deviation = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    distances = np.log(_to_neighbours(scaled) + 1e-12)
    median = np.median(distances)
    spread = _TO_DEVIATION * np.median(np.abs(distances - median))
    found = np.flatnonzero(distances > median + _LEAST_DEVIATIONS * max(spread, 1e-9))
    return found[np.argsort(-distances[found], kind="stable")]


def _to_neighbours(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each row's mean distance to its nearest neighbours."""
    squares = np.square(rows).sum(axis=1)
    means = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        distances = squares[part, None] + squares - 2 * rows[part] @ rows.T
        nearest = np.partition(distances, _NUM_NEIGHBOURS, axis=1)[:, : _NUM_NEIGHBOURS + 1]
        # Itself is among them, at distance 0 but for rounding.
        means[part] = np.sqrt(np.maximum(nearest, 0)).sum(axis=1) / _NUM_NEIGHBOURS
    return means
