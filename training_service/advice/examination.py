"""Examines a sample of a dataset's rows by the head that a linear probe would fit on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from model_store.tasks import Task
from training_service.advice.advice import Advice, Examined, advise, advise_on_labels
from training_service.advice.label_issues import Shares
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.classification.metrics import softmax
from training_service.training.heads import left_out_outputs

_REPEATS = 3


def examine(
    examined: Examined, task: Task, num_test: NDArray[np.int64], check_going_on: Callable[[], None]
) -> list[Advice]:
    """Return all advice on the rows; `num_test` [labels] counts the test rows of each label.

    Of a task without classes, rows of one label among them, only what needs no labels is looked at.
    """
    if task.kind != "classification" or len(np.unique(examined.targets)) < 2:
        return list(advise(examined, is_label=False))

    def errors_at(count: int) -> Sequence[float]:
        if count == len(examined.names):
            return [wrong] * _REPEATS  # each draw would be all of the rows
        return [
            _error(examined, task, _drawn(len(examined.names), count, seed), check_going_on) for seed in range(_REPEATS)
        ]

    shares = left_out_shares(examined, task, check_going_on)
    wrong = _share_wrong(shares, examined)
    return list(advise_on_labels(examined, task.names, shares, errors_at, num_test))


def left_out_shares(examined: Examined, task: Task, check_going_on: Callable[[], None]) -> Shares:
    """Return the share of each label for each row, [n, labels], by a head that was fitted without the row.

    The only row of a label is never left out: its label counts as sure.
    """
    outputs, left_out = _outputs(examined, task, np.arange(len(examined.names)), check_going_on)
    shares = np.zeros((len(examined.names), len(task.names)))
    shares[np.arange(len(shares)), examined.targets] = 1.0
    shares[left_out] = softmax(outputs)
    return shares


def _share_wrong(shares: Shares, examined: Examined) -> float:
    """Return the share of wrong answers to rows that are left out once; the only row of a label is not."""
    counts = np.bincount(examined.targets)
    left_out = counts[examined.targets] > 1
    return float((shares.argmax(axis=1) != examined.targets)[left_out].mean())


def _outputs(
    examined: Examined, task: Task, rows: NDArray[np.int64], check_going_on: Callable[[], None]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return outputs for those of some rows that are left out once, by heads that were fitted without them."""
    check_going_on()
    training_task, targets = TRAINING_TASKS[task.kind], examined.targets[rows]
    folds = training_task.folds(targets)
    outputs = left_out_outputs(
        examined.features[rows], targets, training_task, len(task.names), folds, is_balanced=False
    )
    return outputs, rows[folds >= 0]


def _error(examined: Examined, task: Task, rows: NDArray[np.int64], check_going_on: Callable[[], None]) -> float:
    """Return the share of wrong answers to some rows that heads were fitted without."""
    outputs, left_out = _outputs(examined, task, rows, check_going_on)
    return float((outputs.argmax(axis=1) != examined.targets[left_out]).mean())


def _drawn(num_rows: int, count: int, seed: int) -> NDArray[np.int64]:
    """Return so many of the rows, or all of them, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(num_rows)[:count])
