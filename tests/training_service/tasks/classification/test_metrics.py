"""Metrics agree with scikit-learn's, and the calibration error with its definition."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from model_store.records.metrics import ClassificationDetail, Metrics
from model_store.tasks import Classification
from training_service.tasks.classification.metrics import confidence, cross_entropy, measure, softmax
from training_service.tasks.training_task import Answers

NAMES = ("a", "b", "c", "never")


def measured(
    logits: np.ndarray, labels: np.ndarray, names: Sequence[str], split: str, temperature: float = 1.0
) -> Metrics:
    """Measure logits against labels."""
    return measure(Answers(logits, labels, Classification(tuple(names), temperature)), split)


def detail(metrics: Metrics) -> ClassificationDetail:
    """Return the detail of a classification."""
    assert isinstance(metrics.detail, ClassificationDetail)
    return metrics.detail


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
    metrics, predicted = measured(logits, labels(), NAMES, "test"), logits.argmax(axis=1)
    every = {"labels": range(4), "zero_division": 0}
    assert metrics.values["accuracy"] == pytest.approx(accuracy_score(labels(), predicted))
    assert metrics.values["macro_f1"] == pytest.approx(f1_score(labels(), predicted, average="macro"))
    scores = softmax(logits)
    assert metrics.values["log_loss"] == pytest.approx(log_loss(labels(), scores, labels=range(4)))
    areas = [roc_auc_score(labels() == label, scores[:, label]) for label in range(3)]
    assert metrics.values["roc_auc"] == pytest.approx(np.mean(areas))
    assert "top5_accuracy" not in metrics.values, "there are four labels"
    assert detail(metrics).confusion_matrix == tuple(map(tuple, confusion_matrix(labels(), predicted, labels=range(4))))
    expected = precision_recall_fscore_support(labels(), predicted, **every)
    found = [(each.precision, each.recall, each.f1, each.support) for each in detail(metrics).labels]
    np.testing.assert_allclose(found, np.transpose(expected))
    assert [each.label for each in detail(metrics).labels] == list(NAMES)
    assert (metrics.split, metrics.num_rows) == ("test", 200)


def test_cross_entropy_is_scikit_learns(logits: np.ndarray) -> None:
    """In nats, and without overflow for large logits."""
    assert cross_entropy(logits, labels()) == pytest.approx(log_loss(labels(), softmax(logits), labels=range(4)))
    assert cross_entropy(np.array([[1e4, 0]], np.float32), np.array([1])) == pytest.approx(1e4)


def test_calibration_error_by_hand() -> None:
    """Two bins: one sure and half right, one less sure and right: (2 * 0.45 + 1 * 0.4) / 3."""
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4]])
    assert confidence(probabilities, np.array([0, 1, 0])).error == pytest.approx((2 * 0.45 + 0.4) / 3)


def test_a_perfect_model_has_no_error() -> None:
    """Sure and right in every row."""
    metrics = measured(np.eye(4, dtype=np.float32)[labels()] * 1000, labels(), NAMES, "test")
    assert (metrics.values["accuracy"], metrics.values["expected_calibration_error"]) == (1.0, 0.0)


def test_top_5_accuracy_is_scikit_learns() -> None:
    """Where there are more than ten labels; equal logits too are ranked in the order of the labels."""
    random = np.random.default_rng(0)
    names = "abcdefghijk"
    own = random.integers(0, 11, 300)
    logits = random.integers(0, 100, (300, 11)).astype(np.float32) + np.linspace(0, 0.5, 11, dtype=np.float32)
    found = measured(logits, own, names, "test").values["top5_accuracy"]
    assert found == pytest.approx(top_k_accuracy_score(own, logits, k=5, labels=range(11)))
    flat = measured(np.zeros((11, 11), np.float32), np.arange(11), names, "test")
    assert flat.values["top5_accuracy"] == pytest.approx(5 / 11)
    ten = measured(logits[:, :10], own.clip(max=9), names[:10], "test")
    assert "top5_accuracy" not in ten.values, "five guesses of ten are right half of the time"


def test_a_tie_is_half_a_win() -> None:
    """The area under the ROC curve of scores that say nothing is a half."""
    assert measured(np.zeros((4, 2), np.float32), np.array([0, 1, 1, 1]), "ab", "test").values[
        "roc_auc"
    ] == pytest.approx(0.5)
    assert "roc_auc" not in measured(np.zeros((4, 2), np.float32), np.array([1, 1, 1, 1]), "ab", "test").values


def test_a_temperature_changes_scores_and_no_prediction(logits: np.ndarray) -> None:
    """The error of the scores as they are, and of those that are not divided."""
    plain, divided = (measured(logits, labels(), NAMES, "test", temperature) for temperature in (1.0, 4.0))
    assert divided.values["accuracy"] == plain.values["accuracy"]
    assert detail(divided).confusion_matrix == detail(plain).confusion_matrix
    assert (
        divided.values["uncalibrated_error"]
        == plain.values["uncalibrated_error"]
        == plain.values["expected_calibration_error"]
    )
    assert divided.values["expected_calibration_error"] == confidence(softmax(logits / 4), labels()).error
    assert divided.values["log_loss"] == pytest.approx(log_loss(labels(), softmax(logits / 4), labels=range(4)))
    assert (detail(plain).temperature, detail(divided).temperature) == (1.0, 4.0)


def test_a_label_that_the_model_lacks_is_wrong() -> None:
    """Logits of -inf give no score, no place among the best, and no finite loss."""
    logits = np.array([[2.0, 1.0, -np.inf], [1.0, 2.0, -np.inf]], np.float32)
    metrics = measured(logits, np.array([0, 2]), "abc", "test")
    assert metrics.values["accuracy"] == 0.5
    assert "log_loss" not in metrics.values
    assert detail(metrics).labels[2].recall == 0
    assert np.isfinite(list(metrics.values.values())).all()


def test_metrics_survive_json(logits: np.ndarray) -> None:
    """Every figure, interval and count, and the temperature."""
    metrics = measured(logits, labels(), NAMES, "test", 1.5)
    assert Metrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics
