"""Logistic and ridge regression answer as scikit-learn's own do on standardised columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.training_service.heads.fits import answers, features, fit_rows, flags_of, labels_of, stored_head

TRAIN, TEST = features(80, 6), features(30, 6, seed=5)


@pytest.mark.parametrize("num_labels", [2, 4])
@pytest.mark.parametrize("is_balanced", [False, True])
def test_logistic_regression_scores_as_scikit_learn(num_labels: int, is_balanced: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A label that no row has is never answered."""
    labels = labels_of(TRAIN, num_labels)
    weights = "balanced" if is_balanced else None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500, class_weight=weights))
    expected = model.fit(TRAIN.astype(np.float64), labels).predict_proba(TEST.astype(np.float64))
    rows = fit_rows(TRAIN, labels + 1, "classification", num_labels + 2, is_balanced=is_balanced)
    found = answers(stored_head("logistic_regression", rows, {"strength": 0.3}, tmp_path), TEST)
    np.testing.assert_allclose(found[:, 1:-1], expected, atol=1e-5)
    assert not found[:, [0, -1]].any()


def test_logistic_regression_of_several_labels_is_one_for_each(tmp_path: Path) -> None:
    """A label that all rows have, or none, is answered by its share."""
    flags = flags_of(TRAIN)
    chain = stored_head("logistic_regression", fit_rows(TRAIN, flags, "multi_label", 4), {"strength": 0.1}, tmp_path)
    found = answers(chain, TEST, "multi_label")
    for label in (0, 1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        expected = model.fit(TRAIN.astype(np.float64), flags[:, label]).predict_proba(TEST.astype(np.float64))
        np.testing.assert_allclose(found[:, label], expected[:, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 2:], [[81 / 82, 1 / 82]] * 30, atol=1e-5)


@pytest.mark.parametrize("num_targets", [1, 3])
def test_ridge_regression_answers_as_scikit_learn(num_targets: int, tmp_path: Path) -> None:
    """In the targets' own units."""
    targets = (TRAIN @ np.random.default_rng(2).normal(size=(6, num_targets)) + 100).astype(np.float32)
    model = make_pipeline(StandardScaler(), Ridge(alpha=4.0)).fit(TRAIN.astype(np.float64), targets.astype(np.float64))
    rows = fit_rows(TRAIN, targets, "regression", num_targets)
    found = answers(stored_head("ridge", rows, {"strength": 0.25}, tmp_path), TEST, "regression")
    np.testing.assert_allclose(found, model.predict(TEST.astype(np.float64)).reshape(30, -1), rtol=1e-5)
