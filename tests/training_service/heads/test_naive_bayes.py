"""Naive Bayes answers as scikit-learn's own does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB

from model_store.errors import InvalidInput
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


COUNTS, OTHER_COUNTS = (np.random.default_rng(seed).poisson(1.5, (80, 6)).astype(np.float32) for seed in (0, 1))


@pytest.mark.parametrize("kind", ["multinomial_nb", "bernoulli_nb"])
@pytest.mark.parametrize("num_labels", [2, 4])
def test_counts_score_as_scikit_learn(kind: str, num_labels: int, tmp_path: Path) -> None:
    """By how often, or by whether, each feature is there."""
    labels = labels_of(COUNTS, num_labels)
    model = MultinomialNB(alpha=0.3) if kind == "multinomial_nb" else BernoulliNB(alpha=0.3, binarize=1.0)
    settings = {"smoothing": 0.3, "presence_threshold": 1.0}
    found = answers(
        stored_head(kind, fit_rows(COUNTS, labels, "classification", num_labels), settings, tmp_path), OTHER_COUNTS
    )
    np.testing.assert_allclose(found, model.fit(COUNTS, labels).predict_proba(OTHER_COUNTS), atol=1e-5)
    flags = flags_of(COUNTS)
    chain = stored_head(kind, fit_rows(COUNTS, flags, "multi_label", 4), settings, tmp_path)
    several = answers(chain, OTHER_COUNTS, "multi_label")
    for label in (0, 1):
        expected = model.fit(COUNTS, flags[:, label]).predict_proba(OTHER_COUNTS)
        np.testing.assert_allclose(several[:, label], expected[:, 1], atol=1e-5)
    np.testing.assert_allclose(several[:, 2:], [[81 / 82, 1 / 82]] * 80, atol=1e-5)


def test_counts_are_not_below_zero(tmp_path: Path) -> None:
    """The feature is named."""
    rows = fit_rows(TRAIN, labels_of(TRAIN, 2), "classification", 2)
    with pytest.raises(InvalidInput, match=r"feature \d is below 0"):
        stored_head("multinomial_nb", rows, {"smoothing": 1.0}, tmp_path)
