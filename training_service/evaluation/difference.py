"""How far two answers for the same rows are apart, and whether by more than noise: a paired bootstrap, or McNemar."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from model_store.records.metrics import Interval
from training_service.tasks import TrainingTask
from training_service.tasks.bootstrap import row_intervals
from training_service.tasks.training_task import Answers

_SIGNIFICANT = 0.05
_ROUNDING = 1e-9  # of differences: 0.9 - 0.8 is a little less than 0.1


@dataclass(frozen=True)
class Difference:
    """One metric of a version and of another one, on `num_rows` rows.

    `interval` is where the version's metric minus the other's lies with 95 % confidence. `p_value`, of a metric that is
    a share of right rows, is the probability of a difference of at least this size between versions that are equally
    good. NaN is what has no value.
    """

    figure: float
    other: float
    interval: Interval
    num_rows: int
    is_better_lower: bool = False
    p_value: float | None = None

    @property
    def is_known(self) -> bool:
        """Say whether both have a value."""
        return math.isfinite(self.figure) and math.isfinite(self.other)

    @property
    def gain(self) -> float:
        """By how much the version is better than the other one."""
        return self._sign * (self.figure - self.other)

    @property
    def is_better(self) -> bool:
        """Say whether the version is better by more than noise."""
        return self.exceeds(0)

    @property
    def is_worse(self) -> bool:
        """Say whether the version is worse by more than noise."""
        return self.falls_short_of(0)

    def exceeds(self, margin: float) -> bool:
        """Say whether the version is better by more than a margin, beyond noise."""
        if margin == 0 and self.p_value is not None:
            return self.p_value < _SIGNIFICANT and self.gain > 0
        return min(self._gains) > margin + _ROUNDING

    def falls_short_of(self, margin: float) -> bool:
        """Say whether the version is not even better by a margin, beyond noise; below 0 it may be worse by so much."""
        if margin == 0 and self.p_value is not None:
            return self.p_value < _SIGNIFICANT and self.gain < 0
        return max(self._gains) < margin - _ROUNDING

    @property
    def _sign(self) -> int:
        return -1 if self.is_better_lower else 1

    @property
    def _gains(self) -> tuple[float, float]:
        return self._sign * self.interval.low, self._sign * self.interval.high


def difference(task: TrainingTask, own: Answers, other: Answers, metric: str = "") -> Difference:
    """Compare answers for the same rows, in one order, by a metric of the task: its own where none is named.

    The interval has percentiles of 1,000 bootstrap samples of the difference, each of the same rows of both (Efron and
    Tibshirani 1993, chapters 13 and 16.4). The p value is that of McNemar's exact test, two-sided (McNemar 1947).
    """
    form = task.metrics[metric or task.headline]
    figures = form.sampled(own), form.sampled(other)
    all_once = np.ones((1, len(own)), np.float32)
    values = [float(each(all_once)[0]) for each in figures]
    (interval,) = row_intervals(len(own), lambda counts: (figures[0](counts) - figures[1](counts))[:, None])
    p_value = None
    if form.is_right is not None:
        is_right = form.is_right(own), form.is_right(other)
        p_value = mcnemar(int((is_right[0] & ~is_right[1]).sum()), int((is_right[1] & ~is_right[0]).sum()))
    return Difference(values[0], values[1], interval, len(own), form.is_better_lower, p_value)


def mcnemar(num_first: int, num_second: int) -> float:
    """Return the two-sided p value of McNemar's exact test, by the rows that only the first or the second has right.

    Of equally good versions each of these rows is as likely the one's as the other's: a binomial test at one half.
    """
    from scipy.special import bdtr  # noqa: PLC0415  late: few processes need it

    return float(min(1.0, 2 * bdtr(min(num_first, num_second), num_first + num_second, 0.5)))
