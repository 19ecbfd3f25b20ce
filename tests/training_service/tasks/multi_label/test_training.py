"""The loss of a multi-label classifier is PyTorch's, and its temperature the one that outputs were made with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from model_store.tasks import MultiLabel
from training_service.tasks.multi_label.metrics import log_loss, sigmoid
from training_service.tasks.multi_label.training import calibrated, guessing_loss, make_loss

TRUTH = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1]])
OUTPUTS = torch.randn(TRUTH.shape, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_the_mean_over_labels() -> None:
    """Summed over the rows; smoothed, targets are not as sure."""
    plain = make_loss(TRUTH.numpy(), 3, smoothing=0.0, is_balanced=False)(OUTPUTS, TRUTH)
    torch.testing.assert_close(plain, 4 * functional.binary_cross_entropy_with_logits(OUTPUTS, TRUTH))
    smoothed = make_loss(TRUTH.numpy(), 3, smoothing=0.2, is_balanced=False)(OUTPUTS, TRUTH)
    soft = TRUTH * 0.8 + 0.1
    torch.testing.assert_close(smoothed, 4 * functional.binary_cross_entropy_with_logits(OUTPUTS, soft))
    assert plain.item() == pytest.approx(4 * log_loss(OUTPUTS.numpy(), TRUTH.numpy()))


def test_balanced_rows_with_and_without_a_label_count_alike() -> None:
    """Three rows of four have the first label: each counts 2 / 3, and the other one 2."""
    loss = make_loss(TRUTH.numpy(), 3, smoothing=0.0, is_balanced=True)(OUTPUTS, TRUTH)
    weights = torch.tensor([[2 / 3, 1, 2 / 3], [2 / 3, 1, 2 / 3], [2, 1, 2 / 3], [2 / 3, 1, 2]])
    each = functional.binary_cross_entropy_with_logits(OUTPUTS, TRUTH, reduction="none")
    torch.testing.assert_close(loss, (weights * each).mean(dim=1).sum())


def test_guessing_is_to_answer_each_labels_share() -> None:
    """No other answer that is the same for all rows has a lower loss."""
    truth = TRUTH.numpy()
    shares = truth.mean(axis=0)
    best = np.tile(np.log(shares / (1 - shares)), (4, 1)).astype(np.float32)
    assert guessing_loss(truth) == pytest.approx(log_loss(best, truth), rel=1e-6)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_temperature_undoes_a_factor(factor: float) -> None:
    """One temperature for all labels."""
    random = np.random.default_rng(0)
    outputs = random.normal(scale=2, size=(3000, 4)).astype(np.float32)
    truth = (random.random(outputs.shape) < sigmoid(outputs)).astype(np.float32)
    task = calibrated(MultiLabel(("a", "b", "c", "d")), outputs * factor, truth)
    assert task.temperature == pytest.approx(factor, rel=0.05)


def test_a_few_rows_that_are_all_right_prove_no_certainty() -> None:
    """The temperature stays well above the least."""
    truth = np.eye(3, dtype=np.float32)
    task = calibrated(MultiLabel(("a", "b", "c")), 6 * (2 * truth - 1), truth)
    assert 0.5 < task.temperature < 2
