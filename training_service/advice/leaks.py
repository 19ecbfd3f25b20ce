"""Columns that alone tell the target: often something that is known only afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAF_COUNT, _NUM_FOLDS, _LEAF_ROWS = 16, 5, 5
_LEAST_SCORE = 0.98
_MOST_OF_GUESSING = 0.9


def leaks(
    columns: Sequence[tuple[str, NDArray[np.float64]]], targets: NDArray[Any], *, is_label: bool
) -> Iterator[tuple[str, float]]:
    """Yield each column [n] from which a small tree tells the target [n] of left-out rows, and how well, 0 to 1.

    That is the balanced accuracy of labels, where guessing would be far worse, or the share of a number's variance.
    """
    from sklearn.model_selection import cross_val_score  # noqa: PLC0415  a second, and most jobs need none
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415  as above

    kind = DecisionTreeClassifier if is_label else DecisionTreeRegressor
    tree = kind(max_leaf_nodes=_LEAF_COUNT, min_samples_leaf=_LEAF_ROWS, random_state=0)
    if is_label and np.unique(targets, return_counts=True)[1].min() < _NUM_FOLDS:
        targets, columns = _of_frequent(targets, columns)
    if len(np.unique(targets)) < 2:
        return
    for name, values in columns:
        scoring = "balanced_accuracy" if is_label else "r2"
        score = float(cross_val_score(tree, values[:, None], targets, cv=_NUM_FOLDS, scoring=scoring).mean())
        if score >= _LEAST_SCORE and 1 / len(np.unique(targets)) < _MOST_OF_GUESSING:
            yield name, score


def _of_frequent(
    targets: NDArray[Any], columns: Sequence[tuple[str, NDArray[np.float64]]]
) -> tuple[NDArray[Any], list[tuple[str, NDArray[np.float64]]]]:
    """Leave out the rows of labels that cannot be in each fold."""
    labels, counts = np.unique(targets, return_counts=True)
    kept = np.isin(targets, labels[counts >= _NUM_FOLDS])
    return targets[kept], [(name, values[kept]) for name, values in columns]
