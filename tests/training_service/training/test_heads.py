"""The fitted head is scikit-learn's logistic regression, as one linear layer on plain features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from training_service.training.heads import STRENGTHS, Candidate, HeadFitter, choose_head, load_head

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def rows(num_rows: int, width: int, num_labels: int, seed: int = 0) -> Rows:
    """Return features of very different scales, one of them constant, around a centre for each label."""
    random = np.random.default_rng(seed)
    labels = np.arange(num_rows) % num_labels
    centres = np.random.default_rng(99).normal(size=(num_labels, width))
    features = (centres[labels] + random.normal(size=(num_rows, width))) * np.logspace(-3, 3, width) + 5
    features[:, 0] = 7
    return features.astype(np.float32), labels


@pytest.mark.parametrize(("num_rows", "width"), [(60, 8), (20, 50)], ids=["tall", "wide"])
@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_head_is_scikit_learns(num_rows: int, width: int, num_labels: int) -> None:
    """Folding the standardisation in and rotating a wide space change nothing but rounding."""
    features, labels = rows(num_rows, width, num_labels)
    head = HeadFitter(features).fit(features, labels, num_labels, 0.1)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    expected = LogisticRegression(C=0.1, max_iter=500).fit(scaled, labels).predict_proba(scaled)
    found = torch.from_numpy(head.logits(features)).softmax(dim=1).numpy()
    assert found == pytest.approx(expected, abs=2e-3)


def test_the_head_runs_as_a_layer() -> None:
    """A head stage with dropout before its layer answers as the fitted head does."""
    features, labels = rows(30, 6, 3)
    head = HeadFitter(features).fit(features, labels, 3, 1.0)
    stage = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3)).eval()
    load_head(stage, head)
    assert stage(torch.from_numpy(features)).detach().numpy() == pytest.approx(head.logits(features), abs=1e-3)


def test_the_strength_is_chosen_on_validation_rows() -> None:
    """Every candidate is reported, and the one with the lowest loss is taken."""
    train, validation = rows(30, 20, 3), rows(30, 20, 3, seed=1)
    seen: list[Candidate] = []
    best = choose_head(HeadFitter(train[0]), train, validation, 3, lambda _, candidate: seen.append(candidate))
    assert tuple(candidate.strength for candidate in seen) == STRENGTHS
    assert best.loss == min(candidate.loss for candidate in seen)


def test_tiny_features_are_features() -> None:
    """An untrained network may put out millionths that tell labels apart as well as ones do."""
    features, labels = rows(60, 8, 3)
    large, small = (HeadFitter(each).fit(each, labels, 3, 1.0) for each in (features, features * 1e-7))
    assert small.logits(features * 1e-7) == pytest.approx(large.logits(features), abs=1e-2)
