"""How far two answers for the same rows are apart, and whether by more than noise: a paired bootstrap, or McNemar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        if self.p_value is not None:
            return self.p_value < _SIGNIFICANT and self.gain < 0
        return max(self._gains) < -_ROUNDING

    def exceeds(self, margin: float) -> bool:
        """Say whether the version is better by more than a margin, beyond noise."""
        if margin == 0 and self.p_value is not None:
            return self.p_value < _SIGNIFICANT and self.gain > 0
        return min(self._gains) > margin + _ROUNDING

    @property
    def _sign(self) -> int:
        return -1 if self.is_better_lower else 1

    @property
    def _gains(self) -> tuple[float, float]:
        return self._sign * self.interval.low, self._sign * self.interval.high


def difference(
    task: TrainingTask,
    own: Answers | Sequence[Answers],
    other: Answers | Sequence[Answers],
    metric: str = "",
    groups: NDArray[np.int64] | None = None,
) -> Difference:
    """Compare answers for the same rows, in one order, by a metric of the task: its own where none is named.

    Of several draws of answers the mean of the metric counts. Rows with one number in `groups`, int64 [n], depend on
    one another: groups are drawn as a whole, and count once. The interval has percentiles of 1,000 bootstrap samples of
    the difference, each of the same rows of both (Efron and Tibshirani 1993, chapters 13 and 16.4). The p value is that
    of McNemar's exact test, two-sided (McNemar 1947), on groups for which one has more right answers than the other:
    the sign test, where a group is not only right or wrong.
    """
    form = task.metrics[metric or task.headline]
    draws = [[each] if isinstance(each, Answers) else each for each in (own, other)]
    num_rows = len(draws[0][0])
    _, units = np.unique(groups if groups is not None else np.arange(num_rows), return_inverse=True)
    sampled = [[form.sampled(answers) for answers in each] for each in draws]

    def figures(counts: NDArray[np.float32]) -> NDArray[np.float64]:
        of_rows = counts[:, units]
        return np.stack([np.mean([each(of_rows) for each in of_one], axis=0) for of_one in sampled])

    num_units = int(units.max()) + 1
    values = [float(each) for each in figures(np.ones((1, num_units), np.float32))[:, 0]]
    (interval,) = row_intervals(num_units, lambda counts: np.subtract(*figures(counts))[:, None])
    p_value = None
    if form.is_right is not None:
        right = [np.mean([form.is_right(answers) for answers in each], axis=0) for each in draws]
        gains = np.bincount(units, right[0] - right[1])
        p_value = mcnemar(int((gains > _ROUNDING).sum()), int((gains < -_ROUNDING).sum()))
    return Difference(values[0], values[1], interval, num_rows, form.is_better_lower, p_value)


def mcnemar(num_first: int, num_second: int) -> float:
    """Return the two-sided p value of McNemar's exact test, by the rows that only the first or the second has right.

    Of equally good versions each of these rows is as likely the one's as the other's: a binomial test at one half.
    """
    from scipy.special import bdtr  # noqa: PLC0415  late: few processes need it

    return float(min(1.0, 2 * bdtr(min(num_first, num_second), num_first + num_second, 0.5)))
