"""A sliding window of what a version was asked, as bins of a few numbers, to compare with its rows in training."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from model_store.drift import Bins, Drift, Reference
from model_store.modalities.spec import Numbers
from model_store.tasks import Activation

_SECONDS_BETWEEN = (
    0.01  # of requests that are looked at: of a small network's thousands a second a hundredth of the time
)


class DriftMonitor:
    """Keeps the bins of the last `num_rows` rows that it looked at; the event loop alone uses it."""

    def __init__(self, reference: Reference, activation: Activation, num_rows: int) -> None:
        self._reference = reference
        self._activation: Activation = activation
        self._bins: dict[str, Bins] = {name: np.zeros(num_rows, np.uint8) for name in reference.binnings}
        self._num_rows = num_rows
        self._num_seen = 0
        self._next_look = 0.0

    @property
    def is_due(self) -> bool:
        """Say whether the next request is looked at; the one after it is not, for a moment."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _SECONDS_BETWEEN
        return True

    def add(self, embeddings: Numbers, scores: Numbers) -> None:
        """Look at rows: their embeddings [n, d], and their scores [n, outputs]."""
        kept = slice(-self._num_rows, None)
        found = self._reference.bins(embeddings[kept], scores[kept], self._activation)
        count = min(len(scores), self._num_rows)
        places = (self._num_seen + np.arange(count)) % self._num_rows
        for name, bins in found.items():
            self._bins[name][places] = bins
        self._num_seen += count

    @property
    def num_rows(self) -> int:
        """Rows in the window."""
        return min(self._num_seen, self._num_rows)

    @property
    def is_full(self) -> bool:
        """Say whether the window has all its rows: of fewer nothing is said."""
        return self._num_seen >= self._num_rows

    def found(self) -> tuple[Drift, ...]:
        """Compare a full window with the rows of training; nothing before it is full."""
        bins: Mapping[str, Bins] = self._bins
        return tuple(self._reference.drift(bins)) if self.is_full else ()
