"""How the answers of two versions of one task compare: their decisions, and the differences of their numbers.

A module of its own: manifests, and whoever reads them, need no arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.tasks.task import THRESHOLD, Activation


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

    The difference of targets' values is in standard deviations of the others; that of numbers that are not finite is 1.
    """
    same = same_decisions(activation, found, wanted)
    if not np.isfinite(found).all():
        return same, 1.0
    spread = np.maximum(wanted.std(axis=0), np.finfo(np.float32).tiny) if activation == "identity" else 1.0
    return same, float((np.abs(found - wanted) / spread).max())
