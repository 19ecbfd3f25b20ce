"""Metrics of regression agree with scikit-learn's, in the targets' own units."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

from model_store.records.metrics import Metrics, RegressionDetail
from model_store.tasks import Regression
from training_service.tasks.regression.metrics import measure, validate
from training_service.tasks.training_task import Answers

NAMES = ("price", "age")


def rows(num_rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions of targets of two sizes, and the truth."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(num_rows, 2)) * [1000, 1] + [5000, 30]
    return (truth + random.normal(size=(num_rows, 2)) * [300, 0.5]).astype(np.float32), truth.astype(np.float32)


def measured(outputs: np.ndarray, truth: np.ndarray) -> tuple[Metrics, RegressionDetail]:
    """Return the metrics, and their detail."""
    metrics = measure(Answers(outputs, truth, Regression(NAMES)), "test")
    assert isinstance(metrics.detail, RegressionDetail)
    return metrics, metrics.detail


def test_metrics_are_scikit_learns() -> None:
    """Of each target, and their means."""
    outputs, truth = rows()
    metrics, detail = measured(outputs, truth)
    assert metrics.values["mae"] == pytest.approx(mean_absolute_error(truth, outputs), rel=1e-6)
    assert metrics.values["rmse"] == pytest.approx(root_mean_squared_error(truth, outputs), rel=1e-6)
    assert metrics.values["r2"] == pytest.approx(r2_score(truth, outputs), rel=1e-6)
    for i, each in enumerate(detail.targets):
        assert each.target == NAMES[i]
        assert each.mae == pytest.approx(mean_absolute_error(truth[:, i], outputs[:, i]), rel=1e-6)
        assert each.rmse == pytest.approx(root_mean_squared_error(truth[:, i], outputs[:, i]), rel=1e-6)
        assert each.r2 == pytest.approx(r2_score(truth[:, i], outputs[:, i]), rel=1e-6)
        residuals = outputs[:, i].astype(np.float64) - truth[:, i]
        assert each.residual_quantiles == pytest.approx(np.quantile(residuals, [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert (metrics.split, metrics.num_rows) == ("test", 200)


def test_intervals_hold_the_figures_and_narrow_with_rows() -> None:
    """A bootstrap of the rows, the same each time."""
    few, many = (measured(*rows(number))[0] for number in (100, 1000))
    for name in ("r2", "rmse", "mae"):
        for metrics in (few, many):
            assert metrics.intervals[name].low < metrics.values[name] < metrics.intervals[name].high
        widths = [metrics.intervals[name].high - metrics.intervals[name].low for metrics in (few, many)]
        assert widths[1] < widths[0] / 2
    assert measured(*rows(100))[0] == few


def test_a_target_that_never_varies_has_no_r2() -> None:
    """Whatever is predicted for it; without any other, there is none at all."""
    outputs, truth = rows()
    truth[:, 1] = 30
    metrics, detail = measured(outputs, truth)
    assert detail.targets[1].r2 is None
    assert metrics.values["r2"] == pytest.approx(detail.targets[0].r2)
    truth[:, 0] = 5000
    metrics, _ = measured(outputs, truth)
    assert set(metrics.values) == set(metrics.intervals) == {"mae", "rmse"}


def test_validation_has_the_headline_and_the_loss() -> None:
    """R2 as on test rows, and the mean squared error."""
    outputs, truth = rows()
    found = validate(outputs, truth)
    assert found.metric == pytest.approx(measured(outputs, truth)[0].values["r2"])
    assert found.loss == pytest.approx(mean_squared_error(truth, outputs), rel=1e-6)


@pytest.mark.parametrize("size", [1e-25, 6e23])
def test_targets_of_any_size_have_intervals(size: float) -> None:
    """Squares of such numbers do not fit into float32; the figures are those of the same numbers in another unit."""
    outputs, truth = rows(50)
    usual = measured(outputs, truth)[0]
    metrics = measured((outputs * size).astype(np.float32), (truth * size).astype(np.float32))[0]
    for name, unit in (("r2", 1.0), ("rmse", size), ("mae", size)):
        found, wanted = metrics.intervals[name], usual.intervals[name]
        assert (found.low, found.high) == pytest.approx((wanted.low * unit, wanted.high * unit), rel=1e-4)
