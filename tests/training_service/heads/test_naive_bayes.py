"""Naive Bayes answers as scikit-learn's own does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from tests.training_service.heads.fits import answers, features, fit_rows, flags_of, labels_of, stored_head

TRAIN, TEST = features(80, 6), features(30, 6, seed=5)


@pytest.mark.parametrize("num_labels", [2, 4])
@pytest.mark.parametrize("smoothing", [1e-9, 0.1])
def test_gaussian_scores_as_scikit_learn(num_labels: int, smoothing: float, tmp_path: Path) -> None:
    """A column of one number has the smoothing alone for a variance; a label without rows is never answered."""
    labels = labels_of(TRAIN, num_labels)
    model = GaussianNB(var_smoothing=smoothing).fit(TRAIN.astype(np.float64), labels)
    rows = fit_rows(TRAIN, labels + 1, "classification", num_labels + 1)
    found = answers(stored_head("gaussian_nb", rows, {"smoothing": smoothing}, tmp_path), TEST)
    np.testing.assert_allclose(found[:, 1:], model.predict_proba(TEST.astype(np.float64)), atol=1e-5)
    assert not found[:, 0].any()


def test_gaussian_of_several_labels_is_one_for_each(tmp_path: Path) -> None:
    """A label that all rows have, or none, is answered by its share."""
    flags = flags_of(TRAIN)
    chain = stored_head("gaussian_nb", fit_rows(TRAIN, flags, "multi_label", 4), {"smoothing": 1e-6}, tmp_path)
    found = answers(chain, TEST, "multi_label")
    for label in (0, 1):
        model = GaussianNB(var_smoothing=1e-6).fit(TRAIN.astype(np.float64), flags[:, label])
        np.testing.assert_allclose(found[:, label], model.predict_proba(TEST.astype(np.float64))[:, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 2:], [[81 / 82, 1 / 82]] * 30, atol=1e-5)


def test_many_numbers_are_computed_a_part_at_a_time(tmp_path: Path) -> None:
    """Wide rows of many labels answer the same as one row at a time."""
    wide = np.random.default_rng(0).normal(size=(200, 2000)).astype(np.float32)
    labels = np.arange(200) % 40
    chain = stored_head("gaussian_nb", fit_rows(wide, labels, "classification", 40), {"smoothing": 1e-3}, tmp_path)
    np.testing.assert_allclose(
        answers(chain, wide)[::50], np.concatenate([answers(chain, wide[i : i + 1]) for i in range(0, 200, 50)])
    )
