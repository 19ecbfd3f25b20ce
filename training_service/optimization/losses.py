"""What a training step makes smaller: cross entropy, with smoothed, mixed and weighted labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training_service.optimization.mixing import Targets
from training_service.tasks.classification.metrics import Labels


def label_weights(labels: Labels, num_labels: int) -> Tensor:
    """Return what a row of each label counts, float32 [num_labels], so that every label counts alike.

    num_rows / (num_labels * rows of the label), as scikit-learn's `balanced`: the mean over all rows is 1.
    """
    counts = np.bincount(labels, minlength=num_labels)
    return torch.from_numpy((len(labels) / (num_labels * np.maximum(counts, 1))).astype(np.float32))


def summed_loss(logits: Tensor, targets: Targets, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the sum over rows of the loss of logits [n, labels], in nats; computed in float32.

    With smoothing s the target is 1 - s for the label, and s / num_labels for every one on top (arXiv:1512.00567).
    """

    def loss(labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits.float(), labels, weight=weights, label_smoothing=smoothing, reduction="sum"
        )

    if targets.share == 1:
        return loss(targets.labels)
    return targets.share * loss(targets.labels) + (1 - targets.share) * loss(targets.others)
