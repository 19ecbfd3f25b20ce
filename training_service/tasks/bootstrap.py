"""How far figures may be trusted: 95 % intervals from bootstrap samples of the rows that they were measured on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import Interval

NUM_SAMPLES = 1000
PERCENTILES = (2.5, 97.5)
_MAX_COUNTS = 10_000_000  # of rows in samples, at once in memory
Counts = NDArray[np.float32]


def row_intervals(
    num_rows: int, figures: Callable[[Counts], NDArray[np.float64]], seed: int = 0
) -> tuple[Interval, ...]:
    """Return where each figure lies; `figures` computes them, [samples, figures], of counts [samples, rows].

    A count says how often a sample of as many rows, drawn with replacement, has a row. Percentiles of 1,000 samples
    (Efron and Tibshirani 1993, chapter 13); equal arguments give equal intervals. A sample whose figure is no number
    does not count; where there is no other, the interval is none.
    """
    random = np.random.default_rng(seed)
    at_once = min(max(_MAX_COUNTS // num_rows, 1), NUM_SAMPLES)
    found = [
        figures(_drawn(random, min(at_once, NUM_SAMPLES - start), num_rows)) for start in range(0, NUM_SAMPLES, at_once)
    ]
    return tuple(_interval(column[np.isfinite(column)]) for column in np.concatenate(found).T)


def drawn_samples(num_rows: int, seed: int = 0) -> Counts:
    """Return how often each of 1,000 samples with replacement has each row: [1000, rows], for a few thousand rows."""
    return _drawn(np.random.default_rng(seed), NUM_SAMPLES, num_rows)


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, PERCENTILES) if len(values) else (math.nan, math.nan)
    return Interval(float(low), float(high))


def _drawn(random: np.random.Generator, num_samples: int, num_rows: int) -> Counts:
    counts = np.empty((num_samples, num_rows), np.float32)
    for sample in counts:
        sample[:] = np.bincount(random.integers(0, num_rows, num_rows), minlength=num_rows)
    return counts
