"""How a classifier is trained and calibrated: cross entropy, multinomial logistic regression, and a temperature."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.tasks import Classification, Task
from training_service.tasks.classification.metrics import Labels, Logits, row_losses, softmax
from training_service.tasks.temperature import Likelihood, fit_temperature
from training_service.tasks.training_task import Baseline, Loss, Numbers

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse L2 strengths to choose from, scikit-learn's C."""
MAX_ITERATIONS = 500
_NEVER = -1e4  # the logit of a label that no row has: its score is 0


def make_loss(labels: Labels, num_labels: int, *, smoothing: float, is_balanced: bool) -> Loss:
    """Return the cross entropy, in nats.

    With smoothing s the target is 1 - s for the label, and s / num_labels for every one on top (arXiv:1512.00567).
    """
    weights = label_weights(labels, num_labels) if is_balanced else None
    criterion = nn.CrossEntropyLoss(weights, label_smoothing=smoothing, reduction="sum")

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = criterion.to(logits.device)(logits.float(), labels)
        return found

    return loss


def label_weights(labels: Labels, num_labels: int) -> Tensor:
    """Return what a row of each label counts, float32 [num_labels], so that every label counts alike.

    num_rows / (num_labels * rows of the label), as scikit-learn's `balanced`: the mean over all rows is 1.
    """
    counts = np.bincount(labels, minlength=num_labels)
    return torch.from_numpy((len(labels) / (num_labels * np.maximum(counts, 1))).astype(np.float32))


def guessing_loss(labels: Labels) -> float:
    """Return the cross entropy of equal scores for all labels that occur."""
    return math.log(len(np.unique(labels)))


def baseline(task: Task, labels: Labels) -> Baseline:
    """Return the share of each label as its score, so that the most frequent label is answered."""
    counts = np.bincount(labels, minlength=len(task.names)) + 0.5  # a label that no row has keeps a finite log loss
    name = task.names[int(counts.argmax())]
    text = f"always answering {name!r}, the most frequent label of the training rows"
    return Baseline(np.log(counts / counts.sum()).astype(np.float32), text)


def fit_head(
    rows: Numbers, labels: Labels, num_labels: int, strength: float, *, is_balanced: bool
) -> tuple[Numbers, Numbers]:
    """Fit a multinomial logistic regression; two labels occur at least, and no other one is ever answered."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  a second to import, and services and evaluations fit no head

    model = LogisticRegression(
        C=strength, max_iter=MAX_ITERATIONS, class_weight="balanced" if is_balanced else None
    ).fit(rows, labels)
    found_weight, found_bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row of weights, for the second label against the first
        found_weight = np.concatenate([np.zeros_like(found_weight), found_weight])
        found_bias = np.array([0.0, found_bias[0]])
    weight, bias = np.zeros((num_labels, rows.shape[1])), np.full(num_labels, _NEVER)
    weight[model.classes_], bias[model.classes_] = found_weight, found_bias
    return weight, bias


def calibrated(task: Task, logits: Logits, labels: Labels) -> Task:
    """Return the task with the temperature that suits these rows."""
    return replace(cast("Classification", task), temperature=fit_temperature(LIKELIHOOD, logits, labels))


def _smoothed(labels: Labels, num_labels: int) -> NDArray[np.float64]:
    """Return targets [n, labels]: (n + 1) / (n + 2) for a row's own label, the rest shared by the others."""
    rest = 1 / (len(labels) + 2)
    targets = np.full((len(labels), num_labels), rest / max(num_labels - 1, 1))
    targets[np.arange(len(labels)), labels] = 1 - rest
    return targets


LIKELIHOOD = Likelihood(softmax, row_losses, _smoothed)
