"""Support vector machines answer as scikit-learn's own do, calibrated by its sigmoids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from tests.training_service.heads.fits import Numbers, answers, features, fit_rows, flags_of, labels_of, stored_head

TRAIN, TEST = features(90, 6), features(30, 6, seed=5)
SETTINGS = {"strength": 2.0, "gamma": 0.2}


def scaled() -> tuple[Numbers, Numbers]:
    """Return standardised training and test rows."""
    scaler = StandardScaler().fit(TRAIN.astype(np.float64))
    return scaler.transform(TRAIN.astype(np.float64)), scaler.transform(TEST.astype(np.float64))


def machine(kind: str, class_weight: str | None = None) -> Any:
    """Return scikit-learn's machine, calibrated."""
    own = LinearSVC(C=2.0, max_iter=10_000, random_state=0, dual="auto", class_weight=class_weight)
    if kind == "rbf_svm":
        own = SVC(C=2.0, gamma=0.2, class_weight=class_weight)
    return CalibratedClassifierCV(own, cv=5, ensemble=False)


@pytest.mark.parametrize("kind", ["linear_svm", "rbf_svm"])
@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_scores_are_scikit_learns(kind: str, num_labels: int, tmp_path: Path) -> None:
    """Of two labels by one machine, of more by one of each pair, or by each against the rest."""
    labels = labels_of(TRAIN, num_labels)
    train, test = scaled()
    rows = fit_rows(TRAIN, labels + 1, "classification", num_labels + 1, is_balanced=True)
    found = answers(stored_head(kind, rows, SETTINGS, tmp_path), TEST)
    expected = machine(kind, "balanced").fit(train, labels).predict_proba(test)
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-5)
    assert not found[:, 0].any()


@pytest.mark.parametrize("kind", ["linear_svm", "rbf_svm"])
def test_several_labels_have_a_machine_each(kind: str, tmp_path: Path) -> None:
    """A label that all rows have, or none, is answered by its share."""
    flags = flags_of(TRAIN)
    train, test = scaled()
    chain = stored_head(kind, fit_rows(TRAIN, flags, "multi_label", 4), SETTINGS, tmp_path)
    found = answers(chain, TEST, "multi_label")
    for label in (0, 1):
        expected = machine(kind).fit(train, flags[:, label]).predict_proba(test)
        np.testing.assert_allclose(found[:, label], expected[:, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 2:], [[91 / 92, 1 / 92]] * 30, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear_svm", "rbf_svm"])
@pytest.mark.parametrize("num_targets", [1, 2])
def test_values_are_scikit_learns(kind: str, num_targets: int, tmp_path: Path) -> None:
    """Fitted on standardised targets, and answered in their own units."""
    train, test = scaled()
    targets = (1000 + 50 * train @ np.random.default_rng(2).normal(size=(6, num_targets))).astype(np.float32)
    own = StandardScaler().fit(targets.astype(np.float64))
    found = answers(
        stored_head(kind, fit_rows(TRAIN, targets, "regression", num_targets), SETTINGS, tmp_path), TEST, "regression"
    )
    for target, numbers in enumerate(own.transform(targets.astype(np.float64)).T):
        loss = "squared_epsilon_insensitive"
        model = LinearSVR(C=2.0, epsilon=0.1, loss=loss, max_iter=10_000, random_state=0, dual="auto")
        if kind == "rbf_svm":
            model = SVR(C=2.0, gamma=0.2, epsilon=0.1)
        expected = model.fit(train, numbers).predict(test) * own.scale_[target] + own.mean_[target]
        np.testing.assert_allclose(found[:, target], expected, rtol=1e-5)


def test_a_label_of_one_row_is_learned_too(tmp_path: Path) -> None:
    """None of its rows can be left out: the sigmoids are those of all rows."""
    labels = labels_of(TRAIN, 2)
    labels[0] = 2
    rows = fit_rows(TRAIN, labels, "classification", 3)
    assert answers(stored_head("rbf_svm", rows, SETTINGS, tmp_path), TRAIN)[0, 2] > 0
