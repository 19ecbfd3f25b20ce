"""Boosted trees answer as scikit-learn's own: missing values, categories, and numbers next to a threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from model_store.architectures import HEAD
from model_store.errors import InvalidInput, InvalidManifest
from tests.training_service.heads.fits import answers, features, fit_rows, flags_of, labels_of, stored_head
from training_service.heads import HEADS
from training_service.heads.trees import rounded_down

SETTINGS = {"tree_count": 12, "tree_learning_rate": 0.2, "leaf_count": 9}
MODEL: dict[str, Any] = {
    "max_iter": 12, "learning_rate": 0.2, "max_leaf_nodes": 9, "early_stopping": False, "random_state": 0,
}  # fmt: skip
TRAIN, TEST = features(200, 6), features(60, 6, seed=5)


def with_gaps(rows: Any, seed: int) -> Any:
    """Return rows of which a tenth of the numbers is missing, and two columns are codes of categories."""
    random = np.random.default_rng(seed)
    rows = rows.copy()
    rows[:, 2], rows[:, 5] = random.choice([0, 3, 4, 40, 41], len(rows)), random.integers(0, 12, len(rows))
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows


@pytest.mark.parametrize("has_gaps", [False, True])
@pytest.mark.parametrize("num_labels", [2, 4])
def test_classes_score_as_scikit_learn(has_gaps: bool, num_labels: int, tmp_path: Path) -> None:  # noqa: FBT001
    """Numbers on a threshold too: every test row has some of the training rows' numbers, and of those next to them."""
    labels = labels_of(TRAIN, num_labels)
    train, test = TRAIN.copy(), np.concatenate([TEST, TRAIN[:30], np.nextafter(TRAIN[30:60], np.float32(np.inf))])
    columns: tuple[int, ...] = ()
    if has_gaps:
        train, test, columns = with_gaps(train, 1), with_gaps(test, 2), (2, 5)
        test[:4, 2], test[4:8, 5] = [1, 99, -1, 3.5], [200, 11.5, 70_000, -np.inf]  # unknown categories
        test[8:10, 1] = np.inf, -np.inf
        test[np.isinf(test[:, 5]), 5] = np.nan
    model = HistGradientBoostingClassifier(**MODEL, categorical_features=list(columns) or None)
    finite = np.isfinite(test[:, 1]) | np.isnan(test[:, 1])
    expected = model.fit(train.astype(np.float64), labels).predict_proba(test[finite].astype(np.float64))
    rows = fit_rows(train, labels + 1, "classification", num_labels + 1, categorical=columns)
    found = answers(stored_head("gradient_boosting", rows, SETTINGS, tmp_path), test)[finite]
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-6)
    assert not found[:, 0].any()


@pytest.mark.parametrize("num_targets", [1, 2])
def test_values_are_scikit_learns(num_targets: int, tmp_path: Path) -> None:
    """One sequence of trees for each target."""
    train, test = with_gaps(TRAIN, 1), with_gaps(TEST, 2)
    targets = (TRAIN[:, 3:] @ np.random.default_rng(2).normal(size=(3, num_targets))).astype(np.float32)
    rows = fit_rows(train, targets, "regression", num_targets)
    found = answers(stored_head("gradient_boosting", rows, SETTINGS, tmp_path), test, "regression")
    for target in range(num_targets):
        model = HistGradientBoostingRegressor(**MODEL).fit(train, targets[:, target].astype(np.float64))
        np.testing.assert_allclose(found[:, target], model.predict(test), rtol=1e-6, atol=1e-6)


def test_deep_trees_give_scikit_learns_values(tmp_path: Path) -> None:
    """Walks that have ended are dropped on the way down."""
    train = np.random.default_rng(3).exponential(size=(800, 3)).astype(np.float32) ** 3
    targets = train.sum(axis=1, keepdims=True)
    train[np.random.default_rng(4).random(train.shape) < 0.05] = np.nan
    rows = fit_rows(train, targets, "regression", 1)
    settings = {**SETTINGS, "leaf_count": 31}
    assert HEADS["gradient_boosting"].fit(rows, settings).arguments["depth"] > 10
    found = answers(stored_head("gradient_boosting", rows, settings, tmp_path), train, "regression")
    model = HistGradientBoostingRegressor(**{**MODEL, "max_leaf_nodes": 31}).fit(
        train, targets[:, 0].astype(np.float64)
    )
    np.testing.assert_allclose(found[:, 0], model.predict(train), rtol=1e-6, atol=1e-6)


def test_several_labels_have_trees_each(tmp_path: Path) -> None:
    """A label that all rows have, or none, has none."""
    flags = flags_of(TRAIN)
    chain = stored_head("gradient_boosting", fit_rows(TRAIN, flags, "multi_label", 4), SETTINGS, tmp_path)
    found = answers(chain, TEST, "multi_label")
    for label in (0, 1):
        model = HistGradientBoostingClassifier(**MODEL).fit(TRAIN, flags[:, label])
        np.testing.assert_allclose(found[:, label], model.predict_proba(TEST)[:, 1], atol=1e-6)
    np.testing.assert_allclose(found[:, 2:], [[201 / 202, 1 / 202]] * 60, atol=1e-6)
    constant = stored_head("gradient_boosting", fit_rows(TRAIN, flags[:, 2:], "multi_label", 2), SETTINGS, tmp_path)
    np.testing.assert_allclose(answers(constant, TEST, "multi_label"), found[:, 2:])


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_rounded_threshold_separates_as_the_threshold_does(threshold: float, number: float) -> None:
    """For every finite number of float32 down to the least threshold that float32 has."""
    (rounded,) = rounded_down(np.array([threshold]))
    assert np.isfinite(rounded)
    if threshold > -3.4e38:
        assert (np.float32(number) <= rounded) == (number <= threshold)


@pytest.mark.parametrize(
    ("name", "value"),
    [("left", 10**6), ("left", -1), ("left", 0), ("feature", 6), ("root", 10**6), ("output", 1), ("threshold", 0.0)],
)
def test_trees_that_lead_nowhere_are_refused(name: str, value: float, tmp_path: Path) -> None:
    """Before a row walks them."""
    chain = stored_head(
        "gradient_boosting", fit_rows(TRAIN, labels_of(TRAIN, 2), "classification", 2), SETTINGS, tmp_path
    )
    tensors = {key: each.clone() for key, each in chain.stage_tensors(HEAD).items()}
    place = int(tensors["left"].numel()) - 1 if name in {"left", "threshold"} else 0
    tensors[name][place] = torch.tensor(value).to(tensors[name].dtype)
    with pytest.raises(InvalidManifest, match=f"tensor '{name}'"):
        chain.load_stage(HEAD, tensors)


def test_categories_are_whole_numbers(tmp_path: Path) -> None:
    """Of at most 255 kinds."""
    rows = fit_rows(TRAIN, labels_of(TRAIN, 2), "classification", 2, categorical=(1,))
    with pytest.raises(InvalidInput, match="column 1 has others"):
        stored_head("gradient_boosting", rows, SETTINGS, tmp_path)
