"""Rows that are nearly the same and have other labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_NEARLY_THE_SAME = 0.1  # of the median distance to the nearest row
_ROWS_AT_ONCE = 512


def contradictions(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows [n, d] with other labels that are nearly the same, the earlier row first.

    Nearly the same is a tenth of the usual distance of a row to the nearest other one, or none at all.
    """
    if len(features) <= 1:
        return
    deviation = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    squares = np.square(scaled).sum(axis=1)
    nearest, distances = np.empty(len(scaled), np.int64), np.empty(len(scaled))
    for start in range(0, len(scaled), _ROWS_AT_ONCE):
        part = np.arange(start, min(start + _ROWS_AT_ONCE, len(scaled)))
        found = squares[part, None] + squares - 2 * scaled[part] @ scaled.T
        found[np.arange(len(part)), part] = np.inf
        nearest[part] = found.argmin(axis=1)
        distances[part] = np.sqrt(np.maximum(found.min(axis=1), 0))
    limit = max(_NEARLY_THE_SAME * float(np.median(distances)), 1e-3 * float(np.sqrt(np.median(squares))))
    pairs = {
        (min(row, other), max(row, other))
        for row, other in enumerate(nearest.tolist())
        if distances[row] <= limit and labels[row] != labels[other]
    }
    yield from sorted(pairs)
