"""Metrics agree with scikit-learn's, and the calibration error with its definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from training_service.evaluate import calibration_error, cross_entropy, measure, softmax

NAMES = ("a", "b", "c", "never")


@pytest.fixture
def logits() -> np.ndarray:
    """Logits of 200 rows that are right more often than not; nothing is ever the fourth label."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(200, 4)).astype(np.float32)
    scores[np.arange(200), labels()] += 1.5
    scores[:, 3] -= 20
    return scores


def labels() -> np.ndarray:
    """Labels of those rows."""
    return np.random.default_rng(1).integers(0, 3, 200)


def test_metrics_are_scikit_learns(logits: np.ndarray) -> None:
    """Accuracy, macro F1, the figures of each label and the confusion matrix."""
    metrics, predicted = measure(logits, labels(), NAMES, "test"), logits.argmax(axis=1)
    every = {"labels": range(4), "zero_division": 0}
    assert metrics.accuracy == pytest.approx(accuracy_score(labels(), predicted))
    assert metrics.macro_f1 == pytest.approx(f1_score(labels(), predicted, average="macro", **every))
    assert metrics.confusion_matrix == tuple(map(tuple, confusion_matrix(labels(), predicted, labels=range(4))))
    expected = precision_recall_fscore_support(labels(), predicted, **every)
    found = [(each.precision, each.recall, each.f1, each.support) for each in metrics.labels]
    np.testing.assert_allclose(found, np.transpose(expected))
    assert [each.label for each in metrics.labels] == list(NAMES)
    assert (metrics.split, metrics.num_rows) == ("test", 200)


def test_cross_entropy_is_scikit_learns(logits: np.ndarray) -> None:
    """In nats, and without overflow for large logits."""
    assert cross_entropy(logits, labels()) == pytest.approx(log_loss(labels(), softmax(logits), labels=range(4)))
    assert cross_entropy(np.array([[1e4, 0]], np.float32), np.array([1])) == pytest.approx(1e4)


def test_calibration_error_by_hand() -> None:
    """Two bins: one sure and half right, one less sure and right: (2 * 0.45 + 1 * 0.4) / 3."""
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4]])
    assert calibration_error(probabilities, np.array([0, 1, 0])) == pytest.approx((2 * 0.45 + 0.4) / 3)


def test_a_perfect_model_has_no_error() -> None:
    """Sure and right in every row."""
    metrics = measure(np.eye(4, dtype=np.float32)[labels()] * 1000, labels(), NAMES, "test")
    assert (metrics.accuracy, metrics.expected_calibration_error) == (1.0, 0.0)
