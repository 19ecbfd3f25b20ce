"""What was learnt of the batches that begin with one stage: how long they take, and what the memory holds."""

from __future__ import annotations

from inference_service.batching.queue_capacity import QueueCapacity

_DECAY = 0.97  # weight of all earlier batches when the next one is measured
# Batches that must end in time may take this many times what is expected. With 1.2 or none, of a flood's requests with
# deadlines a tenth fewer were answered in time.
MARGIN = 1.5
_OVERHEAD_SHARE = 0.1  # of an efficient batch's seconds, at most this share does not depend on its cost
UNLIMITED = 1_000_000_000


class LatencyModel:
    """A line `fixed + each * cost`, fitted by least squares in which newer batches have more weight."""

    def __init__(self) -> None:
        self._weight = self._cost = self._seconds = self._cost_cost = self._cost_seconds = 0.0
        self._fixed = self._each = 0.0

    def add(self, cost: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        self._weight = self._weight * _DECAY + 1
        self._cost = self._cost * _DECAY + cost
        self._seconds = self._seconds * _DECAY + seconds
        self._cost_cost = self._cost_cost * _DECAY + cost * cost
        self._cost_seconds = self._cost_seconds * _DECAY + cost * seconds
        self._fit()

    def doubt(self) -> None:
        """Lower the prediction: it lets nothing run, and so nothing would ever correct it."""
        if self.has_measured:
            self._seconds *= _DECAY
            self._cost_seconds *= _DECAY
            self._fit()

    @property
    def has_measured(self) -> bool:
        """Return whether any batch was measured."""
        return self._weight > 0

    @property
    def efficient_cost(self) -> int:
        """Return the least cost of an efficient batch: in smaller ones the fixed seconds are a large share."""
        return max(1, round(self._fixed / (_OVERHEAD_SHARE * self._each))) if self._each > 0 else 1

    def seconds(self, cost: int) -> float:
        """Return the seconds that a batch is expected to take; 0 before the first measurement."""
        return self._fixed + self._each * cost

    def longest_seconds(self, cost: int) -> float:
        """Return the seconds that a batch hardly ever exceeds."""
        return MARGIN * self.seconds(cost)

    def cost_within(self, seconds: float) -> int:
        """Return the cost of the largest batch that hardly ever takes longer than this; 0 where none does."""
        left = seconds / MARGIN - self._fixed
        if left < self._each or left <= 0:
            return 0 if self.has_measured else UNLIMITED
        return min(UNLIMITED, int(left / self._each)) if self._each > 0 else UNLIMITED

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


class StageHistory:
    """The latency of a stage's batches, and `max_cost`, the limit of the next one: what the memory was seen to hold.

    `capacity` is that of the rows' kind.
    """

    def __init__(self, capacity: QueueCapacity) -> None:
        self.capacity = capacity
        self.latency = LatencyModel()
        self.max_cost = capacity.max_batch_cost

    def learn(self, cost: int, row_cost: int, seconds: float) -> None:
        """Learn from a batch that ran; after one as large as `max_cost`, the next one may be a row larger."""
        self.latency.add(cost, seconds)
        if cost + row_cost > self.max_cost:
            self.max_cost = min(self.capacity.max_batch_cost, max(cost, self.max_cost) + row_cost)
