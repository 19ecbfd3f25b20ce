"""How a multi-label classifier is trained and calibrated: log loss and a logistic regression for each label."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model_store.tasks import MultiLabel, Task
from training_service.tasks.classification.training import MAX_ITERATIONS
from training_service.tasks.multi_label.metrics import Truth, row_losses, sigmoid
from training_service.tasks.temperature import Likelihood, fit_temperature
from training_service.tasks.training_task import Baseline, Loss, Numbers, Outputs


def make_loss(truth: Truth, num_labels: int, *, smoothing: float, is_balanced: bool) -> Loss:  # noqa: ARG001  as wide as the truth
    """Return the mean over labels of the log loss, in nats.

    With smoothing s the targets are 1 - s / 2 and s / 2. Balanced, rows with and without a label count alike: n / 2
    divided by their number. The loss is linear in the truth, so that of mixed rows is mixed by the same shares.
    """
    weights = _weights(truth) if is_balanced else torch.ones((2, 1))

    def loss(outputs: Tensor, truth: Tensor) -> Tensor:
        without, having = weights.to(outputs.device)
        off, on = (
            functional.binary_cross_entropy_with_logits(
                outputs.float(), torch.full(outputs.shape, share, device=outputs.device), reduction="none"
            )
            for share in (smoothing / 2, 1 - smoothing / 2)
        )
        by_label: Tensor = truth * having * on + (1 - truth) * without * off
        return by_label.mean(dim=1).sum()

    return loss


def guessing_loss(truth: Truth) -> float:
    """Return the log loss of each label's own share of the rows, at every row."""
    shares = truth.mean(axis=0, dtype=np.float64)
    return float(np.mean([_entropy(share) for share in shares]))


def baseline(task: Task, truth: Truth) -> Baseline:  # noqa: ARG001  the labels need no names
    """Return each label's share of the rows as its score, so that the labels of more than half of them are answered."""
    having = truth.sum(axis=0, dtype=np.float64)
    outputs = np.log((having + 0.5) / (len(truth) - having + 0.5))
    text = "giving every row the labels that more than half of the training rows have"
    return Baseline(outputs.astype(np.float32), text)


def fit_head(
    rows: Numbers, truth: Truth, num_labels: int, strength: float, *, is_balanced: bool
) -> tuple[Numbers, Numbers]:
    """Fit a logistic regression for each label; one that all rows have, or none, is answered by its share alone."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  a second to import, and services and evaluations fit no head

    weight, bias = np.zeros((num_labels, rows.shape[1])), np.empty(num_labels)
    for label in range(num_labels):
        own = truth[:, label] > 0
        if own.all() or not own.any():
            bias[label] = math.log((own.sum() + 1) / ((~own).sum() + 1))
            continue
        model = LogisticRegression(
            C=strength, max_iter=MAX_ITERATIONS, class_weight="balanced" if is_balanced else None
        ).fit(rows, own)
        weight[label], bias[label] = model.coef_[0], model.intercept_[0]
    return weight, bias


def calibrated(task: Task, outputs: Outputs, truth: Truth) -> Task:
    """Return the task with the one temperature of all labels that suits these rows."""
    return replace(cast("MultiLabel", task), temperature=fit_temperature(LIKELIHOOD, outputs, truth))


def _weights(truth: Truth) -> Tensor:
    """Return what a row without each label counts, and one that has it: float32 [2, labels]."""
    having = truth.sum(axis=0, dtype=np.float64)
    counts = np.maximum([len(truth) - having, having], 1)
    return torch.from_numpy((len(truth) / (2 * counts)).astype(np.float32))


def _entropy(share: float) -> float:
    return -sum(each * math.log(each) for each in (share, 1 - share) if each > 0)


def _smoothed(truth: Truth, num_labels: int) -> Numbers:
    """Return targets [n, labels]: (n + 1) / (n + 2) where a row has a label, 1 / (n + 2) elsewhere."""
    rest = 1 / (truth.size / num_labels + 2)
    targets: Numbers = np.where(truth > 0, 1 - rest, rest)
    return targets


LIKELIHOOD = Likelihood(sigmoid, row_losses, _smoothed)
