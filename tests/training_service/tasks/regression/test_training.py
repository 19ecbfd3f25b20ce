"""The loss of a regression is the mean squared error, of targets that are scaled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training_service.tasks.regression.training import guessing_loss, make_loss
from training_service.tasks.target_scale import TargetScale


def test_the_loss_is_the_mean_over_targets() -> None:
    """Summed over the rows, in float32 whatever comes in."""
    outputs, targets = torch.randn((6, 3)), torch.randn((6, 3))
    loss = make_loss(targets.numpy(), 3, smoothing=0.0, is_balanced=False)
    torch.testing.assert_close(loss(outputs, targets), 6 * torch.nn.functional.mse_loss(outputs, targets))
    assert loss(outputs.bfloat16(), targets).dtype is torch.float32


def test_scaled_targets_are_guessed_at_a_loss_of_one() -> None:
    """Of mean 0 and deviation 1 each; one that never varies is 0."""
    targets = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32) * [1e4, 1e-3, 0] + [1e5, 1, 7]
    scaled = TargetScale.of(targets.astype(np.float32)).scaled(targets.astype(np.float32))
    assert scaled.dtype == np.float32
    assert scaled.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-2)
    assert scaled.std(axis=0) == pytest.approx([1, 1, 0], abs=1e-2)
    assert guessing_loss(scaled[:, :2]) == pytest.approx(1, rel=1e-2)
