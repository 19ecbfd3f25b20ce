"""Heads that weigh the numbers of an embedding: logistic and ridge regression, in float64."""

from __future__ import annotations

from torch import Tensor

from model_store.architectures.head import Head
from model_store.architectures.heads.stage import HeadStage


class Affine(HeadStage):
    """Decisions x @ weight.T + bias."""

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.numbers("weight", self.num_decisions, size)
        self.numbers("bias", self.num_decisions)

    def decisions(self, x: Tensor) -> Tensor:
        """Return the weighted sums [n, num_decisions]."""
        return x @ self.get_buffer("weight").T + self.get_buffer("bias")
