"""Repeated cross-validation of a linear probe on few rows, whose test split alone says little of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import CrossValidation
from model_store.tasks import Task
from training_service.arrays.records import Positions
from training_service.tasks import TRAINING_TASKS, TrainingTask
from training_service.tasks.bootstrap import row_intervals
from training_service.tasks.cross_validation import NUM_FOLDS, Folds
from training_service.tasks.training_task import Answers, Outputs, Targets
from training_service.training.heads import Features, HeadFitter, choose_head

MIN_ROWS = 50
MAX_ROWS = 1000
NUM_REPEATS = 2


@dataclass(frozen=True)
class Examples:
    """All rows of a dataset: features [n, d] of each view, the plain ones first, and targets in their own units.

    Rows with one number in `groups`, int64 [n], must not be parted by folds.
    """

    views: Sequence[Features]
    targets: Targets
    groups: NDArray[np.int64]
    task: Task

    @property
    def training_task(self) -> TrainingTask:
        """What training asks of the task."""
        return TRAINING_TASKS[self.task.kind]

    def features(self, positions: Positions) -> Features:
        """Return the rows of each view behind those of the one before."""
        return np.concatenate([view[positions] for view in self.views])


@dataclass(frozen=True)
class _Fold:
    """Positions of rows that are left out, and of the others: some to learn from, some to choose the strength by."""

    out: Positions
    kept: Positions
    learned: Positions
    chosen: Positions

    def can_be_fitted(self, examples: Examples) -> bool:
        """Say whether there are rows to choose by, and targets that differ to learn from."""
        return len(self.chosen) > 0 and len(np.unique(examples.targets[self.learned], axis=0)) > 1


def is_cross_validated(num_rows: int) -> bool:
    """Say whether so few rows are there that one test split moves by points, and enough for folds."""
    return MIN_ROWS <= num_rows < MAX_ROWS


def cross_validate(
    examples: Examples, make_fitter: Callable[[Features], HeadFitter], check_going_on: Callable[[], None]
) -> CrossValidation | None:
    """Measure the recipe on all rows, each by heads that were fitted without the row's fold, in several draws of folds.

    Standardisation, the scale of targets and the choice of the strength, by rows of their own, are done again in each
    fold; what the input spec and fitted stages took from the training rows stays. The interval has percentiles of 1,000
    samples of whole groups of rows. It does not contain how much another draw of training rows would change the heads
    (Bengio and Grandvalet 2004). Return None where groups are so large that a fold leaves too little to learn from.
    """
    task, draws = examples.training_task, [list(_folds(examples, seed)) for seed in range(NUM_REPEATS)]
    if not all(draws) or not all(fold.can_be_fitted(examples) for draw in draws for fold in draw):
        return None
    figures, is_measured = [], np.zeros(len(examples.targets), np.bool_)
    for draw in draws:
        outputs = np.zeros((len(examples.targets), len(examples.task.names)), np.float32)
        for fold in draw:
            outputs[fold.out] = _outputs(examples, fold, make_fitter, check_going_on)
            is_measured[fold.out] = True
        answers = Answers(outputs, examples.targets, examples.task).at(is_measured)
        figures.append(task.metrics[task.headline].sampled(answers))
    _, units = np.unique(examples.groups[is_measured], return_inverse=True)

    def mean(counts: NDArray[np.float32]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = np.mean([figure(counts[:, units]) for figure in figures], axis=0)
        return means[:, None]

    num_units = int(units.max()) + 1
    (interval,) = row_intervals(num_units, mean)
    value = float(mean(np.ones((1, num_units), np.float32))[0, 0])
    return CrossValidation(task.headline, value, interval, int(is_measured.sum()), NUM_FOLDS, NUM_REPEATS)


def folds_of(examples: Examples, positions: Positions, seed: int) -> Folds:
    """Return the fold of each row at the positions, by groups of rows in a drawn order.

    Rows of classes have the task's own folds. Numbers rarely tie: their folds would be the same in each draw.
    """
    _, first, units = np.unique(examples.groups[positions], return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    folds = np.empty(len(first), np.int64)
    if examples.training_task.has_classes:
        folds[order] = examples.training_task.folds(examples.targets[positions][first[order]])
    else:
        folds[order] = np.arange(len(first)) % NUM_FOLDS
    drawn: Folds = folds[units]
    return drawn


def _folds(examples: Examples, seed: int) -> Iterator[_Fold]:
    every = np.arange(len(examples.targets))
    folds = folds_of(examples, every, seed)
    for fold in np.unique(folds[folds >= 0]):
        kept = every[folds != fold]
        inner = folds_of(examples, kept, seed)
        yield _Fold(every[folds == fold], kept, kept[inner != 0], kept[inner == 0])


def _outputs(
    examples: Examples, fold: _Fold, make_fitter: Callable[[Features], HeadFitter], check_going_on: Callable[[], None]
) -> Outputs:
    """Return outputs for the rows that a fold leaves out, by a head that has not seen them."""
    scale = examples.training_task.scale(examples.targets[fold.kept])
    targets = examples.targets if scale is None else scale.scaled(examples.targets)
    num_views, num_outputs, plain = len(examples.views), len(examples.task.names), examples.views[0]
    features = examples.features(fold.kept)
    fitter = make_fitter(features)
    best = choose_head(
        fitter,
        (examples.features(fold.learned), np.concatenate([targets[fold.learned]] * num_views)),
        (plain[fold.chosen], targets[fold.chosen]),
        num_outputs,
        lambda *_: check_going_on(),
    )
    head = fitter.fit(features, np.concatenate([targets[fold.kept]] * num_views), num_outputs, best.strength)
    return head.unscaled(scale).outputs(plain[fold.out])
