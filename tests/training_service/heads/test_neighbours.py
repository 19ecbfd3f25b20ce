"""Neighbours, centroids and perceptrons answer as scikit-learn's own do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_store.errors import InvalidInput
from tests.training_service.heads.fits import Numbers, answers, features, fit_rows, flags_of, labels_of, stored_head

TRAIN, TEST = features(80, 6), features(30, 6, seed=5)
PLAIN, OTHER = TRAIN.astype(np.float64), TEST.astype(np.float64)
TARGETS = (100 + TRAIN[:, 3:] @ np.random.default_rng(2).normal(size=(3, 2))).astype(np.float32)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_neighbours_answer_as_scikit_learn(weights: Any, task: str, tmp_path: Path) -> None:
    """A training row is its own nearest neighbour, which by distance counts alone."""
    targets = {"classification": labels_of(TRAIN, 3), "multi_label": flags_of(TRAIN), "regression": TARGETS}[task]
    num_outputs = 3 if targets.ndim == 1 else targets.shape[1]
    settings = {"neighbour_count": 4, "neighbour_weights": weights}
    chain = stored_head("nearest_neighbours", fit_rows(TRAIN, targets, task, num_outputs), settings, tmp_path)
    kind = KNeighborsRegressor if task == "regression" else KNeighborsClassifier
    model = make_pipeline(StandardScaler(), kind(4, weights=weights)).fit(PLAIN, targets)
    for rows in (TEST, TRAIN):
        expected: Numbers = (
            model.predict(rows.astype(np.float64)) if task == "regression" else _scores(model, rows, task)
        )
        np.testing.assert_allclose(answers(chain, rows, task), expected, atol=1e-5, rtol=1e-5)


def _scores(model: Any, rows: Any, task: str) -> Numbers:
    found = model.predict_proba(rows.astype(np.float64))
    if task == "classification":
        return np.asarray(found)
    columns = [
        each[:, -1] if each.shape[1] == 2 else np.full(len(rows), label == 2) for label, each in enumerate(found)
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def test_neighbours_need_rows(tmp_path: Path) -> None:
    """A request is told how many there are."""
    rows = fit_rows(TRAIN, labels_of(TRAIN, 2), "classification", 2)
    with pytest.raises(InvalidInput, match="at most 80"):
        stored_head("nearest_neighbours", rows, {"neighbour_count": 81, "neighbour_weights": "uniform"}, tmp_path)


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")
@pytest.mark.parametrize("num_labels", [2, 4])
def test_centroids_score_as_scikit_learn(num_labels: int, tmp_path: Path) -> None:
    """Also of several labels, one pair of centres for each."""
    labels = labels_of(TRAIN, num_labels)
    model = NearestCentroid(priors="empirical").fit(PLAIN, labels)
    rows = fit_rows(TRAIN, labels, "classification", num_labels)
    found = answers(stored_head("nearest_centroid", rows, {}, tmp_path), TEST)
    np.testing.assert_allclose(found, model.predict_proba(OTHER), atol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1), model.predict(OTHER))
    flags = flags_of(TRAIN)
    chain = stored_head("nearest_centroid", fit_rows(TRAIN, flags, "multi_label", 4), {}, tmp_path)
    several = answers(chain, TEST, "multi_label")
    for label in (0, 1):
        expected = NearestCentroid(priors="empirical").fit(PLAIN, flags[:, label]).predict_proba(OTHER)
        np.testing.assert_allclose(several[:, label], expected[:, 1], atol=1e-5)
    np.testing.assert_allclose(several[:, 2:], [[81 / 82, 1 / 82]] * 30, atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", ["two labels", "classification", "multi_label", "regression"])
def test_perceptrons_answer_as_scikit_learn(task: str, tmp_path: Path) -> None:
    """Targets of a regression are standardised for the fit, and answered in their own units."""
    targets = {
        "two labels": labels_of(TRAIN, 2),
        "classification": labels_of(TRAIN, 3),
        "multi_label": flags_of(TRAIN),
        "regression": TARGETS,
    }[task]
    kind = "classification" if task == "two labels" else task
    num_outputs = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    settings = {"strength": 100.0, "hidden_width": 8}
    chain = stored_head("mlp", fit_rows(TRAIN, targets, kind, num_outputs, seed=3), settings, tmp_path)
    network = {"hidden_layer_sizes": (8,), "alpha": 0.01, "max_iter": 300, "random_state": 3}
    if task == "regression":
        own = StandardScaler().fit(TARGETS.astype(np.float64))
        model = make_pipeline(StandardScaler(), MLPRegressor(**network)).fit(PLAIN, own.transform(TARGETS))
        expected = own.inverse_transform(model.predict(OTHER))
    else:
        expected = make_pipeline(StandardScaler(), MLPClassifier(**network)).fit(PLAIN, targets).predict_proba(OTHER)
    np.testing.assert_allclose(answers(chain, TEST, kind), expected, atol=1e-5, rtol=1e-5)
