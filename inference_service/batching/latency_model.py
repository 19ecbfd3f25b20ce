"""The latency model: predicts the seconds of a batch from its cost, by a line fitted to the batches that ran. Pure."""

from __future__ import annotations

_DECAY = 0.97  # weight of all earlier batches when the next one is measured
_LATE_DECAY = 0.95  # decay per batch of the lateness margin
# The margin is this many times the lateness of recent batches. With 1.5, one batch in two hundred ran under a flood for
# rows that it answered too late; throughput is the same.
_LATE_SHARE = 2.5
_STILL_LATER = 2  # an overdue batch that still runs is assumed to end this many times later than it is now
_LATEST = 0.75  # lateness beyond this share has another cause, and is not counted
_OVERHEAD_SHARE = 0.1  # of an efficient batch's seconds, at most this share does not depend on its cost
_LEAST_SECONDS = 1e-9
UNLIMITED = 1_000_000_000


class LatencyModel:
    """A line `fixed + each * cost`, fitted by least squares in which newer batches have more weight."""

    def __init__(self) -> None:
        self._weight = self._cost = self._seconds = self._cost_cost = self._cost_seconds = 0.0
        self._fixed = self._each = self._late = 0.0

    def add(self, cost: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        if self._weight:
            late = seconds / max(self.expected_seconds(cost), _LEAST_SECONDS) - 1
            self._late = max(_LATE_DECAY * self._late, min(late, _LATEST))
        self._weight = self._weight * _DECAY + 1
        self._cost = self._cost * _DECAY + cost
        self._seconds = self._seconds * _DECAY + seconds
        self._cost_cost = self._cost_cost * _DECAY + cost * cost
        self._cost_seconds = self._cost_seconds * _DECAY + cost * seconds
        self._fit()

    def note_late(self, late_share: float) -> None:
        """Raise the margin for a batch that still runs and is overdue by this share of its expected seconds."""
        self._late = max(self._late, min(_STILL_LATER * late_share, _LATEST))

    def doubt(self) -> None:
        """Lower the prediction: it lets nothing run, and so nothing would ever correct it."""
        if self._weight:
            self._seconds *= _DECAY
            self._cost_seconds *= _DECAY
            self._late *= _LATE_DECAY
            self._fit()

    @property
    def has_measured(self) -> bool:
        """Return whether any batch was measured."""
        return self._weight > 0

    def seconds(self, cost: int) -> float:
        """Return the seconds that a batch hardly ever exceeds, margin included; 0 before the first measurement."""
        return self.expected_seconds(cost) * self.allowance

    def expected_seconds(self, cost: int) -> float:
        """Return the seconds that a batch is expected to take, without a margin."""
        return self._fixed + self._each * cost

    def cost_within(self, seconds: float) -> int:
        """Return the cost of the largest batch that ends within these seconds, margin included; 0 where none does."""
        left = seconds / self.allowance - self._fixed
        if left < self._each or left <= 0:
            return 0 if self._weight else UNLIMITED
        return min(UNLIMITED, int(left / self._each)) if self._each > 0 else UNLIMITED

    @property
    def efficient_cost(self) -> int:
        """Return the least cost of an efficient batch: in smaller ones the fixed seconds are a large share."""
        return max(1, round(self._fixed / (_OVERHEAD_SHARE * self._each))) if self._each > 0 else 1

    @property
    def allowance(self) -> float:
        """Return the margin: a batch hardly ever takes longer than this many times its expected seconds."""
        return 1 + _LATE_SHARE * self._late

    def _fit(self) -> None:
        """Fit the line; through the origin where all batches had one cost, or larger ones seemed to take less."""
        spread = self._weight * self._cost_cost - self._cost * self._cost
        each = fixed = 0.0
        if spread > 1e-9 * self._weight * self._cost_cost:
            each = (self._weight * self._cost_seconds - self._cost * self._seconds) / spread
            fixed = (self._seconds - each * self._cost) / self._weight
        if each <= 0 or fixed < 0:
            each, fixed = self._cost_seconds / self._cost_cost, 0.0
        self._fixed, self._each = fixed, each
