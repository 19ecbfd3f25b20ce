"""How far two answers for the same rows are apart, and whether by more than chance: a paired bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from model_store.records.metrics import Interval
from training_service.tasks import TrainingTask
from training_service.tasks.bootstrap import row_intervals
from training_service.tasks.training_task import Answers


@dataclass(frozen=True)
class Difference:
    """The headline metric of a version and of another one, on `num_rows` rows.

    `interval` is where the version's metric minus the other's lies with 95 % confidence. NaN is what has no value.
    """

    figure: float
    other: float
    interval: Interval
    num_rows: int

    @property
    def is_known(self) -> bool:
        """Say whether both have a value."""
        return math.isfinite(self.figure) and math.isfinite(self.other)

    @property
    def is_better(self) -> bool:
        """Say whether the version is better by more than chance."""
        return self.interval.low > 0

    @property
    def is_worse(self) -> bool:
        """Say whether the version is worse by more than chance."""
        return self.interval.high < 0


def difference(task: TrainingTask, own: Answers, other: Answers) -> Difference:
    """Compare answers for the same rows, in one order: each bootstrap sample has the same rows of both.

    Percentiles of 1,000 samples of the difference (Efron and Tibshirani 1993, chapters 13 and 16.4).
    """
    figures = task.sampled(own), task.sampled(other)
    all_once = np.ones((1, len(own)), np.float32)
    values = [float(each(all_once)[0]) for each in figures]
    (interval,) = row_intervals(len(own), lambda counts: (figures[0](counts) - figures[1](counts))[:, None])
    return Difference(values[0], values[1], interval, len(own))
