"""A random forest answers as scikit-learn's own, and stays within the size that it may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from model_store.architectures import HEAD
from model_store.errors import InvalidManifest
from tests.training_service.heads.fits import answers, features, fit_rows, flags_of, labels_of, stored_head
from training_service.heads import forest

SETTINGS = {"forest_tree_count": 9, "leaf_row_count": 2}
MODEL: dict[str, Any] = {"n_estimators": 9, "min_samples_leaf": 2, "random_state": 0}
TRAIN, TEST = features(200, 6), np.concatenate([features(60, 6, seed=5), features(200, 6)[:30]])


def with_gaps(rows: Any, seed: int) -> Any:
    """Return rows of which a tenth of the numbers is missing."""
    rows = rows.copy()
    rows[np.random.default_rng(seed).random(rows.shape) < 0.1] = np.nan
    return rows


@pytest.mark.parametrize("has_gaps", [False, True])
@pytest.mark.parametrize("num_labels", [2, 4])
def test_classes_score_as_scikit_learn(has_gaps: bool, num_labels: int, tmp_path: Path) -> None:  # noqa: FBT001
    """A label that no training row has scores 0; a missing number goes where scikit-learn sends it."""
    train, test, labels = TRAIN, TEST, labels_of(TRAIN, num_labels)
    if has_gaps:
        train, test = with_gaps(train, 1), with_gaps(test, 2)
    expected = RandomForestClassifier(**MODEL).fit(train, labels).predict_proba(test)
    rows = fit_rows(train, labels + 1, "classification", num_labels + 1)
    found = answers(stored_head("random_forest", rows, SETTINGS, tmp_path), test)
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-5)
    assert not found[:, 0].any()


@pytest.mark.parametrize("num_targets", [1, 2])
def test_values_are_scikit_learns(num_targets: int, tmp_path: Path) -> None:
    """Several targets share the trees."""
    targets = (TRAIN[:, 3:] @ np.random.default_rng(2).normal(size=(3, num_targets))).astype(np.float32)
    rows = fit_rows(TRAIN, targets, "regression", num_targets)
    found = answers(stored_head("random_forest", rows, SETTINGS, tmp_path), TEST, "regression")
    model = RandomForestRegressor(**MODEL).fit(TRAIN, targets.squeeze().astype(np.float64))
    np.testing.assert_allclose(found, model.predict(TEST).reshape(-1, num_targets), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_labels", [1, 4])
def test_several_labels_share_the_trees(num_labels: int, tmp_path: Path) -> None:
    """A label that all rows have, or none, is certain."""
    flags = flags_of(TRAIN)[:, :num_labels]
    chain = stored_head("random_forest", fit_rows(TRAIN, flags, "multi_label", num_labels), SETTINGS, tmp_path)
    found = answers(chain, TEST, "multi_label")
    model = RandomForestClassifier(**MODEL).fit(TRAIN, flags.squeeze())
    shares = model.predict_proba(TEST)
    for label, each in enumerate(shares[:2] if num_labels > 1 else [shares]):
        np.testing.assert_allclose(found[:, label], each[:, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 2:], [[1, 0][: max(num_labels - 2, 0)]] * len(TEST), atol=1e-5)


def test_a_forest_keeps_within_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees have fewer leaves where there is no room for all, and are scikit-learn's with that many leaves."""
    labels = labels_of(TRAIN, 2)
    rows = fit_rows(TRAIN, labels, "classification", 2)
    monkeypatch.setattr(forest, "MAX_BYTES", 4096)
    num_leaves = forest.most_leaves(rows, SETTINGS)
    chain = stored_head("random_forest", rows, SETTINGS, tmp_path)
    assert sum(each.numel() * each.element_size() for each in chain.stage_tensors(HEAD).values()) < 4096
    model = RandomForestClassifier(**MODEL, max_leaf_nodes=num_leaves).fit(TRAIN, labels)
    np.testing.assert_allclose(answers(chain, TEST), model.predict_proba(TEST), atol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("left", 10**6), ("feature", 6), ("root", -1), ("threshold", 0.0)])
def test_trees_that_lead_nowhere_are_refused(name: str, value: float, tmp_path: Path) -> None:
    """Before a row walks them."""
    chain = stored_head("random_forest", fit_rows(TRAIN, labels_of(TRAIN, 2), "classification", 2), SETTINGS, tmp_path)
    tensors = {key: each.clone() for key, each in chain.stage_tensors(HEAD).items()}
    place = int(tensors["left"].numel()) - 1 if name in {"left", "threshold"} else 0
    tensors[name][place] = torch.tensor(value).to(tensors[name].dtype)
    with pytest.raises(InvalidManifest, match=f"tensor '{name}'"):
        chain.load_stage(HEAD, tensors)
