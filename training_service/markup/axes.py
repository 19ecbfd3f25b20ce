"""Axes of a chart: round numbers to mark, and where values are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from training_service.markup.picture import Points

_MAX_POINTS = 400
_MAX_TICKS = 8
Scale = Callable[[float], float]


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return three to seven round numbers from `low` to `high` or just beyond; `whole` ones stay between them."""
    if low == high and not whole:
        margin = abs(high) / 20 or 0.5
        low, high = low - margin, high + margin
    span = high - low or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= 5)
    if whole:
        step = max(round(step), 1)
        first, last = math.ceil(low / step), math.floor(high / step)
    else:
        first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + (not whole)) + 1)]


def aligned(values: Sequence[float]) -> list[str]:
    """Write round numbers with as many decimals as the longest of them needs."""
    decimals = max(len(f"{value:.6g}".partition(".")[2]) for value in values)
    return [f"{value:.{decimals}f}" if "e" not in f"{value:.6g}" else f"{value:g}" for value in values]


def thinned(points: Points) -> Points:
    """Return at most a few hundred of the points, the last one among them."""
    every = math.ceil(len(points) / _MAX_POINTS)
    return points[::-1][::every][::-1] if every > 1 else points


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """Return the line that takes `low` to `start` and `high` to `end`."""
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def decimal_ticks(low: float, high: float) -> list[float]:
    """Return numbers of 1, 2 or 5 times a power of ten, from `low`, which is above 0, or below, to `high` or above.

    Of more than eight of them the powers alone are left.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max((number for number, each in enumerate(every) if each <= low), default=0)
    last = min((number for number, each in enumerate(every) if each >= high and number > first), default=len(every) - 1)
    chosen = every[first : last + 1]
    return chosen if len(chosen) <= _MAX_TICKS else [each for each in chosen if round(math.log10(each), 6).is_integer()]
