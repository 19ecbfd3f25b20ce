"""Intervals are those of samples of the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from training_service.tasks.classification.bootstrap import intervals


def rows(num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions, of which about 7 in 10 are right."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, num_rows)
    return labels, np.where(random.random(num_rows) < 0.6, labels, random.integers(0, 4, num_rows))


def test_intervals_are_those_of_samples_of_rows() -> None:
    """Drawing counts of cells gives the percentiles that drawing rows one by one gives."""
    labels, predicted = rows(120)
    random, figures = np.random.default_rng(5), []
    for _ in range(1000):
        drawn = random.integers(0, 120, 120)
        right = (labels[drawn] == predicted[drawn]).mean()
        figures.append((right, f1_score(labels[drawn], predicted[drawn], average="macro")))
    expected = np.percentile(figures, (2.5, 97.5), axis=0).T
    found = [(each.low, each.high) for each in intervals(confusion_matrix(labels, predicted, labels=range(4)))]
    np.testing.assert_allclose(found, expected, atol=0.015)


def test_more_rows_tell_more() -> None:
    """Four times the rows, half the width; and the figure itself lies within."""
    few, many = (confusion_matrix(*rows(number), labels=range(4)) for number in (200, 800))
    widths = [interval.high - interval.low for interval in (intervals(few)[0], intervals(many)[0])]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)
    accuracy = many.trace() / many.sum()
    assert intervals(many)[0].low < accuracy < intervals(many)[0].high


def test_equal_matrices_have_equal_intervals() -> None:
    """Whoever measures again finds the same figures."""
    matrix = confusion_matrix(*rows(50), labels=range(4))
    assert intervals(matrix) == intervals(matrix)
    assert intervals(matrix, seed=1) != intervals(matrix)


def test_one_row_and_labels_without_rows() -> None:
    """A matrix may be nearly empty."""
    wrong = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    for interval in intervals(wrong):
        assert (interval.low, interval.high) == (0, 0)
    for interval in intervals(wrong[:, [1, 0, 2]]):
        assert (interval.low, interval.high) == (1, 1)
