"""Comparison of the answers of two versions of one task: their decisions, and the differences of their numbers.

It is a module of its own because manifests and their readers need no arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.tasks.task import THRESHOLD, Activation

# Values that differ by less than this share of their size are the same but for float32's rounding.
_LEAST_SPREAD = 1e-6


def same_decisions(
    activation: Activation, found: NDArray[np.float32], wanted: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return which rows of answers [n, outputs] come to the same decision as others.

    The decision is the best label, or the set of labels from the threshold on; values of targets have none. Numbers
    that are not finite agree with nothing.
    """
    same = np.ones(len(found), np.bool_)
    if activation == "softmax":
        same = np.equal(found.argmax(axis=1), wanted.argmax(axis=1))
    elif activation == "sigmoid":
        same = np.all((found >= THRESHOLD) == (wanted >= THRESHOLD), axis=1)
    return np.logical_and(same, np.all(np.isfinite(found), axis=1))


def compared(
    activation: Activation, found: NDArray[np.float32], wanted: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], float]:
    """Compare answers [n, outputs] with others: which rows come to the same decision, and the largest difference.

    The difference of targets' values is in standard deviations of the others, or in the others' own size where all are
    the same; that of numbers that are not finite is 1.
    """
    same = same_decisions(activation, found, wanted)
    if not np.isfinite(found).all():
        return same, 1.0
    differences = np.abs(found.astype(np.float64) - wanted)
    return same, float((differences / (_spread(wanted) if activation == "identity" else 1.0)).max())


def _spread(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the standard deviation of each target, in float64: squares of large numbers do not fit into float32."""
    deviation, size = values.std(axis=0, dtype=np.float64), np.abs(values).max(axis=0).astype(np.float64)
    spread: NDArray[np.float64] = np.where(deviation > _LEAST_SPREAD * size, deviation, np.where(size > 0, size, 1.0))
    return spread
