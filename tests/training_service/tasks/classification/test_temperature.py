"""The temperature that is fitted is the one that logits were made with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from training_service.tasks import temperature
from training_service.tasks.classification.metrics import confidence, cross_entropy, softmax
from training_service.tasks.classification.training import LIKELIHOOD
from training_service.tasks.temperature import LEAST, MOST

fit_temperature = partial(temperature.fit_temperature, LIKELIHOOD)
best_temperature = partial(temperature.best_temperature, LIKELIHOOD)


def calibrated(num_rows: int, num_labels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and labels that are drawn from their softmax."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=2, size=(num_rows, num_labels)).astype(np.float32)
    return logits, np.array([random.choice(num_labels, p=row) for row in softmax(logits)])


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(factor: float) -> None:
    """Logits that are three times too sure need a temperature of three; the calibration error falls."""
    logits, labels = calibrated(4000)
    found = fit_temperature(logits * factor, labels)
    assert found == pytest.approx(factor, rel=0.05)
    assert confidence(softmax(logits * factor / found), labels).error < 0.02


def test_it_is_the_best_one() -> None:
    """SciPy finds the same minimum, but for the smoothed targets, which count little with many rows."""
    logits, labels = calibrated(20_000, 3)
    best = minimize_scalar(lambda t: cross_entropy(logits * 2 / t, labels), bounds=(LEAST, MOST), method="bounded")
    assert fit_temperature(logits * 2, labels) == pytest.approx(best.x, rel=1e-2)


def test_a_few_rows_that_are_all_right_prove_no_certainty() -> None:
    """Without smoothed targets the least temperature would be the best one."""
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    found = best_temperature(logits, np.array([0, 1, 2, 0, 1, 2]))
    assert found > 4 * LEAST
    assert softmax(logits / found).max() < 0.95


def test_it_stays_within_bounds() -> None:
    """Logits that say nothing, and logits that say all too much."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 500)
    assert best_temperature(random.normal(size=(500, 3)).astype(np.float32) * 1e3, labels) == pytest.approx(MOST, 1e-3)
    assert best_temperature(np.eye(3, dtype=np.float32)[labels] * 1e-3, labels) == pytest.approx(LEAST, rel=1e-3)


@pytest.mark.parametrize("num_rows", [6, 12, 36])
def test_a_few_rows_make_the_log_loss_no_worse(num_rows: int) -> None:
    """Of logits that are calibrated already; the best temperature of so few rows made it worse nearly every time."""
    random = np.random.default_rng(0)
    logits, labels = calibrated(4000)
    drawn = [random.choice(len(labels), num_rows, replace=False) for _ in range(40)]

    def harm(fit: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
        temperatures = [fit(logits[few], labels[few]) for few in drawn]
        return np.array([cross_entropy(logits / each, labels) for each in temperatures]) - cross_entropy(logits, labels)

    found, before = harm(fit_temperature), harm(best_temperature)
    assert (before > 0).sum() > 30
    assert (found > 0).sum() < (before > 0).sum() / 2
    assert found.mean() < before.mean() / 5


def test_many_rows_leave_the_best_temperature_as_it_is() -> None:
    """The prior counts as 50 rows: its weight is gone with thousands, and halves the logarithm with 50."""
    logits, labels = calibrated(4000)
    best = best_temperature(logits * 3, labels)
    assert fit_temperature(logits * 3, labels) == pytest.approx(best, rel=0.02)
    few = slice(0, 50)
    shrunk = best_temperature(logits[few] * 3, labels[few]) ** 0.5
    assert fit_temperature(logits[few] * 3, labels[few]) == pytest.approx(shrunk, rel=1e-3)


def test_one_row_tells_nothing() -> None:
    """There is none left to try a fit of it on."""
    assert fit_temperature(np.array([[9.0, 0.0]], np.float32), np.array([1])) == 1.0
