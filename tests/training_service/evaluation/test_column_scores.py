"""Columns are scored as scikit-learn does, and by what a version loses without them, at a bounded cost."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_selection import f_classif, f_regression, mutual_info_classif

from model_store.modalities import Rows
from training_service.arrays.records import Positions
from training_service.datasets.splits import Split
from training_service.evaluation.column_scores import MAX_COLUMNS, MAX_PERMUTED_ROWS, column_scores
from training_service.modalities.modality import PreparedColumn
from training_service.modalities.prepared_rows import PreparedDataset

RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.normal(size=(200, 3)).astype(np.float32)
CATEGORIES = RANDOM.integers(0, 4, size=(200, 1))
LABELS = ((NUMBERS[:, 1] > 0) | (CATEGORIES[:, 0] == 2)).astype(np.int64)
COLUMNS = [
    *(PreparedColumn(name, "numbers", place) for place, name in enumerate(("noise", "decides", "constant"))),
    PreparedColumn("kind", "categories", 0, is_category=True),
]
TRAIN, TEST = np.arange(120), np.arange(120, 200)


def dataset(rows: Rows, targets: np.ndarray) -> PreparedDataset:
    """Return rows with the first 120 to train on."""
    return PreparedDataset(rows, targets, {Split.TRAIN: TRAIN, Split.TEST: TEST})


def test_scores_of_numbers_and_categories() -> None:
    """F and mutual information are scikit-learn's; only what the version looks at is important to it."""
    numbers = NUMBERS.copy()
    numbers[:, 2] = 7
    numbers[:5, 0] = np.nan
    rows = Rows({"numbers": numbers, "categories": CATEGORIES}, 200)

    def metric_of(rows: Rows, positions: Positions) -> float:
        answers = (rows.arrays["numbers"][:, 1] > 0) | (rows.arrays["categories"][:, 0] == 2)
        return float((answers == LABELS[positions]).mean())

    found = {each.name: each for each in column_scores(COLUMNS, dataset(rows, LABELS), TRAIN, TEST, metric_of)}
    assert list(found)[:2] == ["decides", "kind"]
    assert found["decides"].importance > 0.2
    assert found["noise"].importance == found["constant"].importance == 0
    assert found["constant"].f == 0
    assert found["kind"].variance is None
    assert found["decides"].variance == pytest.approx(numbers[TRAIN, 1].var())
    assert found["decides"].f == pytest.approx(f_classif(numbers[TRAIN, 1:2], LABELS[TRAIN])[0][0], rel=1e-5)
    flags = CATEGORIES[TRAIN] == np.arange(4)
    assert found["kind"].f == pytest.approx(f_classif(flags, LABELS[TRAIN])[0].max(), rel=1e-5)
    known = mutual_info_classif(CATEGORIES[TRAIN], LABELS[TRAIN], discrete_features=True)
    assert found["kind"].mutual_information == pytest.approx(known[0])


def test_a_wide_table_costs_no_more() -> None:
    """Of many columns those of the largest F are looked at, on some of the rows."""
    wide = RANDOM.normal(size=(5000, 80)).astype(np.float32)
    targets = wide[:, 70:71] + 0.1 * wide[:, 3:4]
    columns = [PreparedColumn(f"c{place}", "x", place) for place in range(80)]
    sizes = []

    def metric_of(rows: Rows, positions: Positions) -> float:
        sizes.append((len(rows), len(positions)))
        return -float(np.square(rows.arrays["x"][:, 70] - targets[positions, 0]).mean())

    data = PreparedDataset(Rows({"x": wide}, 5000), targets, {})
    found = column_scores(columns, data, np.arange(3000), np.arange(3000, 5000), metric_of)
    assert len(found) == MAX_COLUMNS
    assert found[0].name == "c70"
    assert set(sizes) == {(MAX_PERMUTED_ROWS, MAX_PERMUTED_ROWS)}
    assert len(sizes) == 1 + 3 * MAX_COLUMNS
    seen = np.linspace(0, 2999, 2000).astype(np.int64)
    assert found[0].f == pytest.approx(f_regression(wide[seen, 70:71], targets[seen, 0])[0][0], rel=1e-3)
