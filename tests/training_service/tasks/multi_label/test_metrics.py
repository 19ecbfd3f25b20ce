"""Metrics of multi-label predictions agree with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from model_store.records.metrics import Metrics, MultiLabelDetail
from model_store.tasks import MultiLabel
from training_service.tasks.multi_label.metrics import measure, sigmoid, validate
from training_service.tasks.training_task import Answers

NAMES = ("a", "b", "c", "never")


def rows(num_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs that are right more often than not, and the truth; no row has the fourth label, or is given it."""
    random = np.random.default_rng(0)
    truth = (random.random((num_rows, 4)) < [0.5, 0.2, 0.7, 0]).astype(np.float32)
    outputs = random.normal(size=truth.shape) + 1.5 * (2 * truth - 1)
    outputs[:, 3] = -9
    return outputs.astype(np.float32), truth


def measured(outputs: np.ndarray, truth: np.ndarray, temperature: float = 1.0) -> tuple[Metrics, MultiLabelDetail]:
    """Return the metrics, and their detail."""
    metrics = measure(Answers(outputs, truth, MultiLabel(NAMES[: truth.shape[1]], temperature)), "test")
    assert isinstance(metrics.detail, MultiLabelDetail)
    return metrics, metrics.detail


def test_metrics_are_scikit_learns() -> None:
    """Of all labels that occur or are given, and of each label."""
    outputs, truth = rows()
    (metrics, detail), predicted = measured(outputs, truth), outputs >= 0
    scores = sigmoid(outputs)
    assert metrics.values == {
        "macro_f1": pytest.approx(f1_score(truth[:, :3], predicted[:, :3], average="macro")),
        "micro_f1": pytest.approx(f1_score(truth, predicted, average="micro")),
        "mean_average_precision": pytest.approx(average_precision_score(truth[:, :3], scores[:, :3])),
        "subset_accuracy": pytest.approx(accuracy_score(truth, predicted)),
        "log_loss": pytest.approx(log_loss(truth.ravel(), scores.ravel())),
        "expected_calibration_error": metrics.values["uncalibrated_error"],
        "uncalibrated_error": pytest.approx(metrics.values["uncalibrated_error"]),
    }
    expected = precision_recall_fscore_support(truth, predicted, zero_division=0)
    found = [(each.precision, each.recall, each.f1, each.support) for each in detail.labels]
    np.testing.assert_allclose(found, np.transpose(expected))
    assert detail.labels[0].average_precision == pytest.approx(average_precision_score(truth[:, 0], scores[:, 0]))
    assert [each.label for each in detail.labels] == list(NAMES)
    assert detail.labels[3].average_precision is None, "no row has the label"


def test_intervals_hold_the_figures_and_narrow_with_rows() -> None:
    """A bootstrap of the rows, the same each time."""
    few, many = (measured(*rows(number))[0] for number in (100, 1000))
    for name in ("macro_f1", "micro_f1"):
        for metrics in (few, many):
            assert metrics.intervals[name].low < metrics.values[name] < metrics.intervals[name].high
        widths = [metrics.intervals[name].high - metrics.intervals[name].low for metrics in (few, many)]
        assert widths[1] < widths[0] / 2
    assert measured(*rows(100))[0] == few


def test_a_calibrated_score_has_no_error() -> None:
    """Labels that occur as often as their score says; twice as sure, they do not."""
    random = np.random.default_rng(0)
    outputs = random.normal(size=(4000, 3)).astype(np.float32)
    truth = (random.random(outputs.shape) < sigmoid(outputs)).astype(np.float32)
    assert measured(outputs, truth)[0].values["expected_calibration_error"] < 0.02
    halved = measured(2 * outputs, truth, 2.0)[0].values
    assert halved["expected_calibration_error"] < 0.02
    assert halved["uncalibrated_error"] > 0.05
    assert halved["log_loss"] == pytest.approx(measured(outputs, truth)[0].values["log_loss"], rel=1e-6)


def test_a_label_that_the_model_lacks_is_never_given() -> None:
    """Outputs of -inf: no finite loss where a row has the label, and all else is a number."""
    outputs = np.array([[2.0, -np.inf], [-2.0, -np.inf]], np.float32)
    metrics, detail = measured(outputs, np.array([[1, 1], [0, 0]], np.float32))
    assert "log_loss" not in metrics.values
    assert (detail.labels[1].recall, metrics.values["subset_accuracy"]) == (0, 0.5)
    assert np.isfinite(list(metrics.values.values())).all()
    assert "log_loss" in measured(outputs, np.array([[1, 0], [0, 0]], np.float32))[0].values


def test_rows_without_any_label_have_no_f1() -> None:
    """Nothing is there to be found, and nothing was given."""
    metrics, _ = measured(np.full((5, 2), -1, np.float32), np.zeros((5, 2), np.float32))
    assert metrics.values["subset_accuracy"] == 1
    assert not {"macro_f1", "micro_f1", "mean_average_precision"} & set(metrics.values)
    assert not metrics.intervals


def test_validation_has_the_headline_and_the_loss() -> None:
    """The same figures as on test rows."""
    outputs, truth = rows()
    metrics, found = measured(outputs, truth)[0], validate(outputs, truth)
    assert (found.metric, found.loss) == (metrics.values["macro_f1"], metrics.values["log_loss"])
