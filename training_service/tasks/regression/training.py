"""How a regression is trained: the mean squared error of scaled targets, and ridge regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_store.tasks import Task
from training_service.tasks.training_task import Baseline, Loss, Numbers, Outputs

Values = NDArray[np.float32]
STRENGTHS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Inverse L2 strengths to choose from: 1 / scikit-learn's alpha."""


def make_loss(targets: Values, num_targets: int, *, smoothing: float, is_balanced: bool) -> Loss:  # noqa: ARG001  of classes
    """Return the mean over targets of the squared error."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.float() - targets).square().mean(dim=1).sum()

    return loss


def guessing_loss(targets: Values) -> float:
    """Return the mean squared error of each target's mean."""
    return float(targets.var(axis=0, dtype=np.float64).mean())


def baseline(task: Task, targets: Values) -> Baseline:  # noqa: ARG001  the targets need no names
    """Return the mean of each target."""
    mean = targets.mean(axis=0, dtype=np.float64).astype(np.float32)
    return Baseline(mean, "always answering the mean of the training rows")


def fit_head(
    rows: Numbers,
    targets: Values,
    num_targets: int,
    strength: float,
    *,
    is_balanced: bool,  # noqa: ARG001  there are no classes
) -> tuple[Numbers, Numbers]:
    """Fit a ridge regression of all targets."""
    from sklearn.linear_model import Ridge  # noqa: PLC0415  a second to import, and services and evaluations fit no head

    model = Ridge(alpha=1 / strength).fit(rows, targets.astype(np.float64))
    return model.coef_.reshape(num_targets, -1), np.atleast_1d(model.intercept_)


def calibrated(task: Task, outputs: Outputs, targets: Values) -> Task:  # noqa: ARG001  there are no scores
    """Return the task as it is."""
    return task
