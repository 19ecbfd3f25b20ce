"""The loss is PyTorch's cross entropy, summed: smoothing and weights change what it is taken against."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional

from training_service.tasks.classification.training import label_weights, make_loss

LOGITS = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def loss(logits: Tensor = LOGITS, *, smoothing: float = 0.0, is_balanced: bool = False) -> Tensor:
    """Return the loss of the logits against the labels."""
    return make_loss(LABELS.numpy(), 4, smoothing=smoothing, is_balanced=is_balanced)(logits, LABELS)


def test_it_is_cross_entropy() -> None:
    """Summed over the rows, in float32 whatever comes in."""
    torch.testing.assert_close(loss(), functional.cross_entropy(LOGITS, LABELS, reduction="sum"))
    assert loss(LOGITS.bfloat16()).dtype is torch.float32


def test_smoothing_spreads_a_share_over_all_labels() -> None:
    """As if each row were its label for 1 - s, and every label for s / num_labels."""
    soft = 0.9 * functional.one_hot(LABELS, 4) + 0.1 / 4
    torch.testing.assert_close(loss(smoothing=0.1), functional.cross_entropy(LOGITS, soft, reduction="sum"))


def test_weights_count_rows_by_label() -> None:
    """Rows of a label that is twice as frequent count half as much."""
    each = functional.cross_entropy(LOGITS, LABELS, reduction="none")
    weights = torch.tensor([0.75, 0.75, 1.5, 1.5])
    torch.testing.assert_close(loss(is_balanced=True), (each * weights[LABELS]).sum())


def test_balanced_weights_are_scikit_learns() -> None:
    """Every label counts alike, and a row counts 1 in the mean; a label without rows harms nobody."""
    labels = np.array([0] * 8 + [1] * 3 + [2])
    weights = label_weights(labels, 3)
    assert weights.dtype is torch.float32
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=labels), rtol=1e-6)
    np.testing.assert_allclose(weights.numpy()[labels].mean(), 1, rtol=1e-6)
    assert torch.isfinite(label_weights(labels, 4)).all()
