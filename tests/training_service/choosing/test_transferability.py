"""The diagnostics of features, each against a plain implementation of its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from training_service.choosing.transferability import h_score, log_me, neighbour_metric
from training_service.tasks import TRAINING_TASKS

Numbers = NDArray[np.float64]


def rows_of(num_rows: int, num_features: int, apart: float = 1.0, seed: int = 0) -> tuple[Numbers, NDArray[np.int64]]:
    """Return correlated features of three labels, so far apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(num_rows) % 3
    centres = random.normal(size=(3, num_features)) * apart
    mixed = random.normal(size=(num_rows, num_features)) @ random.normal(size=(num_features, num_features)) * 0.3
    return centres[labels] + mixed, labels


def plain_h_score(features: Numbers, labels: NDArray[np.int64]) -> float:
    """Follow the papers: the shrinkage of Ledoit and Wolf row by row, and the means of the labels in a loop."""
    num_rows, num_features = features.shape
    centred = features - features.mean(axis=0)
    empirical = centred.T @ centred / num_rows
    target = np.trace(empirical) / num_features
    spread = ((empirical - target * np.eye(num_features)) ** 2).sum()
    noise = sum(((np.outer(row, row) - empirical) ** 2).sum() for row in centred) / num_rows**2
    shrinkage = min(noise / spread, 1.0)
    shrunk = (1 - shrinkage) * empirical + shrinkage * target * np.eye(num_features)
    between = np.zeros((num_features, num_features))
    for label in np.unique(labels):
        mean = centred[labels == label].mean(axis=0)
        between += (labels == label).mean() * np.outer(mean, mean)
    return float(np.trace(np.linalg.inv(shrunk) @ ((1 - shrinkage) * between)))


@pytest.mark.parametrize(("num_rows", "num_features"), [(60, 5), (30, 40)])
def test_the_h_score_is_that_of_the_paper(num_rows: int, num_features: int) -> None:
    """With more rows than features, and with fewer."""
    features, labels = rows_of(num_rows, num_features)
    assert h_score(features, labels) == pytest.approx(plain_h_score(features, labels), rel=1e-6)


@pytest.mark.parametrize(("num_rows", "num_features"), [(40, 4), (20, 30)])
def test_the_evidence_is_the_largest_that_there_is(num_rows: int, num_features: int) -> None:
    """As an optimiser finds it on the density of the targets, a normal one with this covariance."""
    features, labels = rows_of(num_rows, num_features)
    best = []
    for label in range(3):
        target = (labels == label).astype(np.float64)

        def negative(logs: Numbers, target: Numbers = target) -> float:
            covariance = math.exp(-logs[0]) * features @ features.T + math.exp(-logs[1]) * np.eye(num_rows)
            return -float(multivariate_normal(np.zeros(num_rows), covariance).logpdf(target)) / num_rows

        best.append(-minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}).fun)
    assert log_me(features, labels, 3) == pytest.approx(np.mean(best), abs=1e-4)


def test_the_neighbours_vote_for_labels_and_average_numbers() -> None:
    """Against scikit-learn, row by row, each left out once."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor  # noqa: PLC0415

    features, labels = rows_of(300, 6, apart=0.7)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    numbers = (features @ np.arange(6.0))[:, None].astype(np.float32)
    right, errors = 0, 0.0
    for row in range(len(scaled)):
        others = np.arange(len(scaled)) != row
        voted = KNeighborsClassifier(5).fit(scaled[others], labels[others]).predict(scaled[[row]])[0]
        right += int(voted == labels[row])
        mean = KNeighborsRegressor(5).fit(scaled[others], numbers[others]).predict(scaled[[row]])[0]
        errors += float(((mean - numbers[row]) ** 2).sum())
    found = neighbour_metric(features, labels, TRAINING_TASKS["classification"], 3)
    assert found == pytest.approx(right / len(scaled))
    r2 = 1 - errors / float(((numbers - numbers.mean(axis=0)) ** 2).sum())
    assert neighbour_metric(features, numbers, TRAINING_TASKS["regression"], 1) == pytest.approx(r2, abs=1e-4)


def test_features_that_tell_more_score_higher() -> None:
    """All three tell near labels from far ones."""
    near, labels = rows_of(200, 10, apart=0.1)
    far, _ = rows_of(200, 10, apart=3.0)
    task = TRAINING_TASKS["classification"]
    assert h_score(far, labels) > h_score(near, labels)
    assert log_me(far, labels, 3) > log_me(near, labels, 3)
    assert neighbour_metric(far, labels, task, 3) > neighbour_metric(near, labels, task, 3)
