"""Mixed targets share the loss, whichever task's it is."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training_service.optimization.losses import mixed_loss
from training_service.optimization.mixing import MixedTargets
from training_service.tasks import TRAINING_TASKS

OUTPUTS = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
OTHERS = LABELS.roll(1, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_labels_share_the_loss(smoothing: float) -> None:
    """Against targets that sum to one: so much of the one label, the rest of the other."""
    loss = TRAINING_TASKS["classification"].make_loss(LABELS.numpy(), 4, smoothing=smoothing, is_balanced=False)
    mixed = 0.3 * functional.one_hot(LABELS, 4) + 0.7 * functional.one_hot(OTHERS, 4)
    soft = (1 - smoothing) * mixed + smoothing / 4
    assert soft.sum(dim=1).tolist() == pytest.approx([1.0] * 6)
    expected = functional.cross_entropy(OUTPUTS, soft, reduction="sum")
    torch.testing.assert_close(mixed_loss(loss, OUTPUTS, MixedTargets(LABELS, OTHERS, 0.3)), expected)
    torch.testing.assert_close(mixed_loss(loss, OUTPUTS, MixedTargets(LABELS, OTHERS)), loss(OUTPUTS, LABELS))


@pytest.mark.parametrize("kind", ["multi_label", "regression"])
def test_mixed_targets_have_the_gradient_of_their_mean(kind: str) -> None:
    """The log loss is linear in its targets, and a squared error differs by what no output can change."""
    first = torch.rand((6, 4), generator=torch.Generator().manual_seed(1)).round()
    loss = TRAINING_TASKS[kind].make_loss(first.numpy(), 4, smoothing=0.0, is_balanced=False)
    second = first.roll(1, 0)
    gradients = []
    for find in (
        lambda outputs: mixed_loss(loss, outputs, MixedTargets(first, second, 0.3)),
        lambda outputs: loss(outputs, 0.3 * first + 0.7 * second),
    ):
        outputs = OUTPUTS.clone().requires_grad_()
        find(outputs).backward()
        gradients.append(outputs.grad)
    torch.testing.assert_close(*gradients)
