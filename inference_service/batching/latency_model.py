"""How long a batch takes: learnt from the batches that ran, as a line over their rows. Pure."""

from __future__ import annotations

_KEPT = 0.97  # what an older batch still counts when the next one was measured
_LATE_KEPT = 0.95  # what a batch that came late still counts in a promise when the next one was measured
# How much of what a batch was late lately a promise allows for. With 1.5 one batch in two hundred ran under a flood for
# rows that it was too late for; what a flood leaves is the same.
_LATE_SHARE = 2.5
_STILL_LATER = 2  # a batch that is over its time and has not ended will be later by so many times as much
_LATEST = 0.75  # a batch that took longer still was held up by something else
_OVERHEAD_SHARE = 0.1


class LatencyModel:
    """A line `first + each * rows`, fitted by least squares in which newer batches count more."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._rows_rows = self._rows_seconds = 0.0
        self._first = self._each = self._late = 0.0

    def add(self, num_rows: int, seconds: float) -> None:
        """Take a measured batch into account."""
        if self._weight:
            late = seconds / max(self.expected_seconds(num_rows), _LEAST_SECONDS) - 1
            self._late = max(_LATE_KEPT * self._late, min(late, _LATEST))
        self._weight = self._weight * _KEPT + 1
        self._rows = self._rows * _KEPT + num_rows
        self._seconds = self._seconds * _KEPT + seconds
        self._rows_rows = self._rows_rows * _KEPT + num_rows * num_rows
        self._rows_seconds = self._rows_seconds * _KEPT + num_rows * seconds
        self._fit()

    def note_late(self, late_share: float) -> None:
        """Allow from now on for a batch that runs still, and is over its time by this share of it."""
        self._late = max(self._late, min(_STILL_LATER * late_share, _LATEST))

    def doubt(self) -> None:
        """Expect less: by what was learnt nothing could be run, and so nothing else would ever be learnt."""
        self._seconds *= _KEPT
        self._rows_seconds *= _KEPT
        self._late *= _LATE_KEPT
        self._fit()

    @property
    def has_measured(self) -> bool:
        """Say whether anything was measured."""
        return self._weight > 0

    def seconds(self, num_rows: int) -> float:
        """Return the seconds that a batch will hardly exceed; 0 while nothing was measured."""
        return self.expected_seconds(num_rows) * self.allowance

    def expected_seconds(self, num_rows: int) -> float:
        """Return the seconds that such a batch takes most often."""
        return self._first + self._each * num_rows

    def rows_within(self, seconds: float) -> int:
        """Return how many rows can run in this time; 0 where not even one can."""
        left = seconds / self.allowance - self._first
        if left < self._each or left <= 0:
            return 0 if self._weight else _MANY
        return min(_MANY, int(left / self._each)) if self._each > 0 else _MANY

    @property
    def efficient_rows(self) -> int:
        """Return the least rows of which a batch's own cost is a small part: smaller batches waste the device."""
        return max(1, round(self._first / (_OVERHEAD_SHARE * self._each))) if self._each > 0 else 1

    @property
    def allowance(self) -> float:
        """How many times what is expected of it a batch will hardly exceed."""
        return 1 + _LATE_SHARE * self._late

    def _fit(self) -> None:
        """Fit the line; through the origin where all batches were of one size, or more rows seemed to cost less."""
        spread = self._weight * self._rows_rows - self._rows * self._rows
        each = first = 0.0
        if spread > 1e-9 * self._weight * self._rows_rows:
            each = (self._weight * self._rows_seconds - self._rows * self._seconds) / spread
            first = (self._seconds - each * self._rows) / self._weight
        if each <= 0 or first < 0:
            each, first = self._rows_seconds / self._rows_rows, 0.0
        self._first, self._each = first, each


_MANY = 1_000_000_000
_LEAST_SECONDS = 1e-9
