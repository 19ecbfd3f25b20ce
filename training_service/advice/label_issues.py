"""Labels that are likely wrong, by confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021).

cleanlab, the authors' library, brings pandas along for what is a few lines here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
Labels = NDArray[np.int64]


def likely_wrong(shares: Shares, labels: Labels) -> NDArray[np.int64]:
    """Return the rows whose label is likely another one, the likeliest first.

    `shares` [n, labels] are those that a model gives each label of a row that it was fitted without. A label counts as
    confident for a row where its share is at least the mean share of the label among the rows that have it. A row is
    likely wrong where the best of its confident labels is not its own; it comes first where the best other label's
    share exceeds its own label's share most.
    """
    present = np.unique(labels)
    thresholds = np.full(shares.shape[1], np.inf)
    thresholds[present] = [shares[labels == label, label].mean() for label in present]
    confident = np.where(shares >= thresholds, shares, -np.inf)
    has_any, best = np.isfinite(confident).any(axis=1), confident.argmax(axis=1)
    rows = np.flatnonzero(has_any & (best != labels))
    others = shares.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    margins = shares[np.arange(len(labels)), labels] - others.max(axis=1)
    return rows[np.argsort(margins[rows], kind="stable")]
