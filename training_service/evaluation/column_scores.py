"""What each column of a table says of the targets, by itself on training rows and to a version on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.modalities import Rows
from training_service.arrays.feature_scores import f_scores, mutual_information
from training_service.arrays.records import Positions
from training_service.modalities.modality import PreparedColumn
from training_service.modalities.prepared_rows import PreparedDataset

MAX_SCORED_ROWS, MAX_PERMUTED_ROWS = 2000, 1000
MAX_COLUMNS = 50
_REPEATS = 3
_MAX_CATEGORIES = 20  # of which each is a feature of its own for F
_MAX_TARGETS = 5
Values = NDArray[Any]


@dataclass(frozen=True)
class ColumnScore:
    """One column; of a column of categories or of texts there is no variance.

    `f` is ANOVA's, of categories the largest of theirs, and of texts that of their dimensions; mutual information is
    that of the dimension with it. `mutual_information` is in nats. `importance` is the fall of
    the headline metric when the column's cells change places, the mean of a few permutations, and `deviation` theirs.
    """

    name: str
    variance: float | None
    mutual_information: float
    f: float
    importance: float
    deviation: float


def column_scores(
    columns: Sequence[PreparedColumn],
    data: PreparedDataset,
    train: Positions,
    test: Positions,
    metric_of: Callable[[Rows, Positions], float],
) -> tuple[ColumnScore, ...]:
    """Return the scores of the columns of the largest F, at most MAX_COLUMNS, the most important one first.

    `metric_of` gives the version's headline metric for rows, which are those at positions with some cells changed.
    Scores are those of at most 2,000 training rows, and importances of at most 1,000 test rows, evenly spread.
    """
    train, test = _spread(train, MAX_SCORED_ROWS), _spread(test, MAX_PERMUTED_ROWS)
    if len(train) <= 2 or not len(test):
        return ()
    targets = data.targets[train]
    cells = [
        filled_cells(data.rows, each, train)
        if each.place is not None
        else _best_dimension(data.rows, each, train, targets)
        for each in columns
    ]
    found = [_largest_f(each, column.is_category, targets) for column, each in zip(columns, cells, strict=True)]
    shown = sorted(range(len(columns)), key=lambda place: -found[place])[:MAX_COLUMNS]
    shared = mutual_information(
        np.stack([cells[each].astype(np.float64) for each in shown], axis=1),
        targets[:, :_MAX_TARGETS] if targets.ndim > 1 else targets,
        np.array([columns[each].is_category for each in shown]),
    ).tolist()
    held_out = Rows({name: array[test] for name, array in data.rows.arrays.items()}, len(test))
    whole = metric_of(held_out, test)
    scores = []
    for place, mutual in zip(shown, shared, strict=True):
        column = columns[place]
        falls = [whole - metric_of(_permuted(held_out, column, seed), test) for seed in range(_REPEATS)]
        variance = None if column.is_category or column.place is None else float(cells[place].var())
        scores.append(
            ColumnScore(column.name, variance, mutual, found[place], float(np.mean(falls)), float(np.std(falls)))
        )
    return tuple(sorted(scores, key=lambda each: -each.importance))


def _spread(positions: Positions, most: int) -> Positions:
    return positions[np.linspace(0, len(positions) - 1, min(len(positions), most)).astype(np.int64)]


def filled_cells(rows: Rows, column: PreparedColumn, positions: Positions) -> Values:
    """Return the cells of a column; missing numbers are the median of the others."""
    cells: Values = rows.arrays[column.array][positions, column.place]
    if column.is_category:
        return cells
    cells, known = cells.astype(np.float64), ~np.isnan(cells)
    return np.where(known, cells, np.median(cells[known]) if known.any() else 0.0)


def _best_dimension(rows: Rows, column: PreparedColumn, positions: Positions, targets: Values) -> Values:
    """Return the feature of texts, of those in an array [n, d], with the largest F."""
    features = rows.arrays[column.array][positions].astype(np.float64)
    varies = features.max(axis=0) > features.min(axis=0)
    scores = np.zeros(features.shape[1])
    if varies.any():
        scores[varies] = f_scores(features[:, varies], targets)
    best: Values = features[:, scores.argmax()]
    return best


def _largest_f(cells: Values, is_category: bool, targets: Values) -> float:  # noqa: FBT001  of a column
    features = cells[:, None]
    if is_category:
        categories, counts = np.unique(cells, return_counts=True)
        features = (features == categories[np.argsort(-counts)[:_MAX_CATEGORIES]]).astype(np.float64)
    features = features[:, features.max(axis=0) > features.min(axis=0)]
    return float(f_scores(features, targets).max()) if features.shape[1] else 0.0


def _permuted(rows: Rows, column: PreparedColumn, seed: int) -> Rows:
    """Return the rows with the cells of one column in another order."""
    array, random = rows.arrays[column.array].copy(), np.random.default_rng(seed)
    if column.place is None:
        array = random.permutation(array)
    else:
        array[:, column.place] = random.permutation(array[:, column.place])
    return Rows({**rows.arrays, column.array: array}, len(rows))
