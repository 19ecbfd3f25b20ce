"""The loss is PyTorch's cross entropy, summed: smoothing, mixed labels and weights change what it is taken against."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from training_service.optimization.losses import label_weights, summed_loss
from training_service.optimization.mixing import Targets

LOGITS = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
OTHERS = LABELS.roll(1, 0)
PLAIN = Targets(LABELS, LABELS)


def test_it_is_cross_entropy() -> None:
    """Summed over the rows, in float32 whatever comes in."""
    expected = functional.cross_entropy(LOGITS, LABELS, reduction="sum")
    torch.testing.assert_close(summed_loss(LOGITS, PLAIN, 0.0, None), expected)
    assert summed_loss(LOGITS.bfloat16(), PLAIN, 0.0, None).dtype is torch.float32


def test_smoothing_spreads_a_share_over_all_labels() -> None:
    """As if each row were its label for 1 - s, and every label for s / num_labels."""
    soft = 0.9 * functional.one_hot(LABELS, 4) + 0.1 / 4
    expected = functional.cross_entropy(LOGITS, soft, reduction="sum")
    torch.testing.assert_close(summed_loss(LOGITS, PLAIN, 0.1, None), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_labels_share_the_loss(smoothing: float) -> None:
    """Against targets that sum to one: so much of the one label, the rest of the other."""
    mixed = 0.3 * functional.one_hot(LABELS, 4) + 0.7 * functional.one_hot(OTHERS, 4)
    soft = (1 - smoothing) * mixed + smoothing / 4
    assert soft.sum(dim=1).tolist() == pytest.approx([1.0] * 6)
    expected = functional.cross_entropy(LOGITS, soft, reduction="sum")
    torch.testing.assert_close(summed_loss(LOGITS, Targets(LABELS, OTHERS, 0.3), smoothing, None), expected)


def test_weights_count_rows_by_label() -> None:
    """A label of weight 0 does not count at all."""
    weights = torch.tensor([0.0, 2.0, 1.0, 1.0])
    each = functional.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(summed_loss(LOGITS, PLAIN, 0.0, weights), (each * weights[LABELS]).sum())


def test_balanced_weights_are_scikit_learns() -> None:
    """Every label counts alike, and a row counts 1 in the mean; a label without rows harms nobody."""
    labels = np.array([0] * 8 + [1] * 3 + [2])
    weights = label_weights(labels, 3)
    assert weights.dtype is torch.float32
    assert weights.numpy() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert weights.numpy()[labels].mean() == pytest.approx(1)
    assert torch.isfinite(label_weights(labels, 4)).all()
