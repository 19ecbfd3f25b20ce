"""What more rows would give: the error at a part of the rows, and where it is going."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = (0.25, 0.5, 1.0)
_NUM_DRAWS = 1000
_LEAST_ERROR = 1e-3


@dataclass(frozen=True)
class LearningCurve:
    """Mean errors at `counts` of rows, and the fall of the error with twice the rows, with a 90 % interval."""

    counts: tuple[int, ...]
    errors: tuple[float, ...]
    gain: float
    least_gain: float
    most_gain: float


def learning_curve(num_rows: int, errors_at: Callable[[int], Sequence[float]]) -> LearningCurve:
    """Measure errors at 25, 50 and 100 % of the rows, and extrapolate to 200 % by a power law.

    `errors_at` returns the errors, 0 to 1, of a few repetitions with so many rows. Error = a * n ** -c fits learning
    curves well beyond the first rows (Hestness et al., arXiv:1712.00409). The interval is that of fits to means of
    repetitions drawn with replacement; an error that does not fall gives a gain of 0.
    """
    counts = tuple(int(part * num_rows) for part in PARTS)
    repeats = [np.maximum(np.asarray(errors_at(count), np.float64), _LEAST_ERROR) for count in counts]
    draws = np.random.default_rng(0)
    gains = [_gain(counts, [draws.choice(each, len(each)).mean() for each in repeats]) for _ in range(_NUM_DRAWS)]
    means = [float(each.mean()) for each in repeats]
    least, most = np.quantile(gains, [0.05, 0.95])
    return LearningCurve(counts, tuple(means), _gain(counts, means), float(least), float(most))


def _gain(counts: Sequence[int], errors: Sequence[float]) -> float:
    logs: NDArray[np.float64] = np.log(counts)
    slope, start = np.polyfit(logs, np.log(errors), 1)
    now, twice = (float(np.exp(start + slope * np.log(count))) for count in (counts[-1], 2 * counts[-1]))
    return max(0.0, now - twice)
