"""The fitted head is scikit-learn's own of each task, as one linear layer on plain features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn

from training_service.recipes.head_names import HeadName
from training_service.tasks.classification import CLASSIFICATION
from training_service.tasks.multi_label import MULTI_LABEL
from training_service.tasks.regression import REGRESSION
from training_service.training.fit_head import equally_good
from training_service.training.heads import Candidate, HeadFitter, choose_head, load_head, unscale_head

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
    head = HeadFitter(features, CLASSIFICATION).fit(features, labels, num_labels, 0.1)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    expected = LogisticRegression(C=0.1, max_iter=500).fit(scaled, labels).predict_proba(scaled)
    found = torch.from_numpy(head.outputs(features)).softmax(dim=1).numpy()
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("num_rows", "width"), [(60, 8), (20, 50)], ids=["tall", "wide"])
@pytest.mark.parametrize("is_balanced", [False, True])
def test_a_multi_label_head_is_a_logistic_regression_for_each_label(
    num_rows: int,
    width: int,
    is_balanced: bool,  # noqa: FBT001
) -> None:
    """And a label that all rows have, or none, is answered by how many there are."""
    features, labels = rows(num_rows, width, 3)
    truth = np.stack([labels == 0, labels != 1, labels >= 0, labels < 0], axis=1).astype(np.float32)
    fitter = HeadFitter(features, MULTI_LABEL, is_balanced=is_balanced)
    found = fitter.fit(features, truth, 4, 0.1).outputs(features)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    for label in (0, 1):
        weights = "balanced" if is_balanced else None
        model = LogisticRegression(C=0.1, max_iter=500, class_weight=weights).fit(scaled, truth[:, label])
        assert found[:, label] == pytest.approx(model.decision_function(scaled), abs=1e-2)
    assert found[:, 2] == pytest.approx(np.log(num_rows + 1), rel=1e-4)
    assert found[:, 3] == pytest.approx(-np.log(num_rows + 1), rel=1e-4)


@pytest.mark.parametrize(("num_rows", "width"), [(60, 8), (20, 50)], ids=["tall", "wide"])
@pytest.mark.parametrize("num_targets", [1, 2])
def test_a_regression_head_is_ridge(num_rows: int, width: int, num_targets: int) -> None:
    """On targets that are scaled, and with the scale folded into the head: in the targets' own units."""
    features, labels = rows(num_rows, width, 3)
    noise = np.random.default_rng(1).normal(size=(num_rows, num_targets))
    targets = (1000 + 50 * (labels[:, None] + noise) * np.arange(1, num_targets + 1)).astype(np.float32)
    scale = REGRESSION.scale(targets)
    assert scale is not None
    head = HeadFitter(features, REGRESSION).fit(features, scale.scaled(targets), num_targets, 0.1)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    expected = Ridge(alpha=10).fit(scaled, targets).predict(scaled).reshape(num_rows, -1)
    found = head.unscaled(scale)
    assert found.outputs(features) == pytest.approx(expected, rel=1e-4)
    stage = nn.Sequential(nn.Linear(width, num_targets))
    load_head(stage, head)
    unscale_head(stage, scale)
    assert stage[0].weight.detach().numpy() == pytest.approx(found.weight)
    assert stage[0].bias.detach().numpy() == pytest.approx(found.bias)


def test_the_head_runs_as_a_layer() -> None:
    """A head stage with dropout before its layer answers as the fitted head does."""
    features, labels = rows(30, 6, 3)
    head = HeadFitter(features, CLASSIFICATION).fit(features, labels, 3, 1.0)
    stage = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3)).eval()
    load_head(stage, head)
    assert stage(torch.from_numpy(features)).detach().numpy() == pytest.approx(head.outputs(features), abs=1e-3)


def test_the_strength_is_chosen_on_validation_rows() -> None:
    """Every candidate is reported, and the one with the lowest loss is taken."""
    train, validation = rows(30, 20, 3), rows(30, 20, 3, seed=1)
    seen: list[Candidate] = []
    fitter = HeadFitter(train[0], CLASSIFICATION)
    best = choose_head(fitter, train, validation, 3, lambda _, candidate: seen.append(candidate))
    assert tuple(candidate.strength for candidate in seen) == CLASSIFICATION.strengths
    assert best.validation.loss == min(candidate.validation.loss for candidate in seen)


def test_tiny_features_are_features() -> None:
    """An untrained network may put out millionths that tell labels apart as well as ones do."""
    features, labels = rows(60, 8, 3)
    large, small = (HeadFitter(each, CLASSIFICATION).fit(each, labels, 3, 1.0) for each in (features, features * 1e-7))
    assert small.outputs(features * 1e-7) == pytest.approx(large.outputs(features), abs=1e-2)


def test_heads_are_averaged_as_far_as_their_losses_differ_by_two_standard_errors() -> None:
    """A small difference of every row tells two heads apart; a larger one of a few rows does not."""
    random = np.random.default_rng(0)
    best = random.random(100)
    noise = random.normal(size=100)
    losses = {
        HeadName.RIDGE: best + 0.01,
        HeadName.MLP: best + 0.15 + (noise - noise.mean()),
        HeadName.GRADIENT_BOOSTING: best,
        HeadName.RANDOM_FOREST: best + 0.3 + (noise - noise.mean()),
    }
    assert equally_good(losses) == [HeadName.MLP, HeadName.GRADIENT_BOOSTING]
    assert equally_good({HeadName.RIDGE: best, HeadName.MLP: best}) == [HeadName.RIDGE, HeadName.MLP]
