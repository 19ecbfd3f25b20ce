"""The capacity for rows of one kind: how much of their cost may wait, over all models and for one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from inference_service.errors import QueueFull
from model_store.errors import InvalidInput

# One model may hold this many times the room that is left: four fifths of an empty queue, unless it is one request.
_FLOOD = 4


@dataclass(frozen=True)
class CostLimits:
    """Limits for rows of one kind, whose cost has one unit: the cost of one batch, and the cost that may wait."""

    batch: int
    queue: int


class QueueCapacity:
    """Counts the cost of all rows of one kind that wait or are being prepared; refuses what is beyond `max_cost`."""

    def __init__(self, limits: CostLimits) -> None:
        self.max_batch_cost = limits.batch
        self.max_cost = limits.queue
        self.waiting_cost = 0
        self._cost_of_model: Counter[Hashable] = Counter()

    def cost_of(self, model: Hashable) -> int:
        """Return the cost that waits for one model."""
        return self._cost_of_model[model]

    def check(self, cost: int, model: Hashable, held: int = 0) -> None:
        """Raise QueueFull where there is no room for `cost` more of a request that holds `held`.

        No model may take all of the room. Raises InvalidInput for a request that even an empty queue does not hold.
        """
        if held + cost > self.max_cost:
            raise InvalidInput.of(
                "request",
                f"costs {held + cost}, and never more than {self.max_cost} may wait: send fewer rows at once, or "
                "smaller ones",
            )
        free = self.max_cost - self.waiting_cost
        of_model = self._cost_of_model[model]
        if cost > free or (self.waiting_cost > held and of_model + cost > _FLOOD * free):
            raise QueueFull(
                f"the queue is full: a cost of {self.waiting_cost} of {self.max_cost} waits already, {of_model} of it "
                f"for this model, and there is no room for {cost} more; try again later, or send fewer at once"
            )

    def add(self, cost: int, model: Hashable) -> None:
        """Count cost that begins to wait, or with a negative one that ends to."""
        self.waiting_cost += cost
        self._cost_of_model[model] += cost
        if not self._cost_of_model[model]:
            del self._cost_of_model[model]
