"""Which epoch was the best, and since when none was better: what is kept, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


class BestEpoch:
    """Follows the validation loss; `keeps_weights` says whether the best epoch's weights will be wanted back.

    `num_worse` counts the epochs since the best one. Training is to stop after `patience` of them; 0 means never.
    """

    def __init__(self, *, keeps_weights: bool, patience: int) -> None:
        self._keeps_weights = keeps_weights
        self._patience = patience
        self._loss = math.inf
        self.num_worse = 0
        self.is_started = False
        self.weights: dict[str, Tensor] = {}

    def take(self, loss: float, weights: Callable[[], Mapping[str, Tensor]]) -> None:
        """Look at the loss after an epoch, or before the first; a loss that is no number is no better than any."""
        self.num_worse = 0 if loss < self._loss else self.num_worse + self.is_started
        if self._keeps_weights and (loss < self._loss or not self.is_started):
            self.weights = {name: tensor.clone() for name, tensor in weights().items()}
        self._loss = min(loss, self._loss) if loss == loss else self._loss  # noqa: PLR0124  NaN is not itself
        self.is_started = True

    @property
    def loss(self) -> float:
        """Return the lowest loss so far; infinity where none was a number."""
        return self._loss

    @property
    def is_out_of_patience(self) -> bool:
        """Say whether to stop."""
        return 0 < self._patience <= self.num_worse

    def state_dict(self) -> dict[str, Any]:
        """Return all but the weights, as JSON has it: it knows no infinity."""
        loss = None if math.isinf(self._loss) else self._loss
        return {"loss": loss, "num_worse": self.num_worse, "is_started": self.is_started}

    def load_state_dict(self, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self._loss = math.inf if state["loss"] is None else state["loss"]
        self.num_worse, self.is_started = state["num_worse"], state["is_started"]
        self.weights = {name: tensor.clone() for name, tensor in weights.items()}
