"""How often scores are right by how sure they are: the calibration error and the bins that it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training_service.tasks.bootstrap import Counts
from training_service.tasks.sampled import Sampled

NUM_BINS = 15
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Confidence:
    """How sure a score is, 0 to 1, and whether it is right: two arrays [n]."""

    confidence: Numbers
    is_right: NDArray[np.bool_]

    @property
    def bins(self) -> NDArray[np.int64]:
        """The bin of each confidence, 0 to 14; bins are open below, closed above."""
        return np.clip(np.ceil(self.confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)

    @property
    def error(self) -> float:
        """The expected calibration error over 15 equal bins (Guo et al. 2017, arXiv:1706.04599).

        The mean over bins, weighted by their rows, of |share of right ones - mean confidence|.
        """
        gaps = np.bincount(self.bins, weights=self.is_right - self.confidence, minlength=NUM_BINS)
        return float(np.abs(gaps).sum() / len(self.confidence))

    def sampled_error(self, num_rows: int) -> Sampled:
        """Return the error of samples of the rows; scores stand row by row, as many for each."""
        rows = np.repeat(np.arange(num_rows), len(self.confidence) // num_rows)
        gaps = np.zeros((num_rows, NUM_BINS))
        np.add.at(gaps, (rows, self.bins), self.is_right - self.confidence)
        single, num_scores = gaps.astype(np.float32), len(self.confidence) / num_rows

        def error(counts: Counts) -> Numbers:
            sums = np.abs(counts @ single).sum(axis=1, dtype=np.float64)
            errors: Numbers = sums / (counts.sum(axis=1) * num_scores)
            return errors

        return error
