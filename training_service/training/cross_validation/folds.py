"""Which rows are left out together, in several draws, and how many draws there is time for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training_service.arrays.records import Positions
from training_service.tasks import TrainingTask
from training_service.tasks.cross_validation import NUM_FOLDS, Folds
from training_service.tasks.training_task import Targets

MIN_ROWS = 50
MAX_ROWS = 1000


@dataclass(frozen=True)
class Plan:
    """So many draws of so many folds."""

    num_repeats: int
    num_folds: int

    @property
    def num_fits(self) -> int:
        """How often the recipe is run."""
        return self.num_repeats * self.num_folds


STEPS_PLANS = (Plan(1, 3),)
"""For recipes with gradient steps."""
PLANS = (Plan(2, NUM_FOLDS), Plan(1, NUM_FOLDS), *STEPS_PLANS)
"""For recipes that fit a head on features, the best one first."""


@dataclass(frozen=True)
class Fold:
    """Positions of rows that are left out, and of the others: some to learn from, some to choose by."""

    out: Positions
    learned: Positions
    chosen: Positions

    def can_be_fitted(self, targets: Targets) -> bool:
        """Say whether there are rows to choose by, and targets that differ to learn from."""
        return len(self.chosen) > 0 and len(np.unique(targets[self.learned], axis=0)) > 1


def is_cross_validated(num_rows: int, num_held_out: int) -> bool:
    """Say whether so few rows are there that one test split moves by points, and enough that nothing learned from."""
    return num_rows < MAX_ROWS and num_held_out >= MIN_ROWS


def affordable(plans: Sequence[Plan], fit_seconds: float, max_seconds: float) -> Plan | None:
    """Return the first plan that takes no longer than allowed, by the time of one run of the recipe."""
    return next((plan for plan in plans if plan.num_fits * fit_seconds <= max_seconds), None)


def draws_of(plan: Plan, targets: Targets, groups: NDArray[np.int64], task: TrainingTask) -> list[list[Fold]]:
    """Return the folds of each draw; none where groups are so large that a fold leaves too little to learn from."""
    draws = [list(_folds(targets, groups, task, plan.num_folds, seed)) for seed in range(plan.num_repeats)]
    if not all(draws) or not all(fold.can_be_fitted(targets) for draw in draws for fold in draw):
        return []
    return draws


def folds_of(targets: Targets, groups: NDArray[np.int64], task: TrainingTask, num_folds: int, seed: int) -> Folds:
    """Return the fold of each row, by groups of rows in a drawn order.

    Rows of classes have the task's own folds. Numbers rarely tie: their folds would be the same in each draw.
    """
    _, first, units = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    folds = np.empty(len(first), np.int64)
    if task.has_classes:
        folds[order] = task.folds(targets[first[order]], num_folds)
    else:
        folds[order] = np.arange(len(first)) % num_folds
    drawn: Folds = folds[units]
    return drawn


def _folds(
    targets: Targets, groups: NDArray[np.int64], task: TrainingTask, num_folds: int, seed: int
) -> Iterator[Fold]:
    every = np.arange(len(targets))
    folds = folds_of(targets, groups, task, num_folds, seed)
    for fold in np.unique(folds[folds >= 0]):
        kept = every[folds != fold]
        inner = folds_of(targets[kept], groups[kept], task, NUM_FOLDS, seed)
        yield Fold(every[folds == fold], kept[inner != 0], kept[inner == 0])
