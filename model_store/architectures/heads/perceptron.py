"""A small multilayer perceptron on standardised embeddings, in float64."""

from __future__ import annotations

from torch import Tensor

from model_store.architectures.head import Head
from model_store.architectures.heads.stage import HeadStage


class Perceptron(HeadStage):
    """One hidden layer of ReLU, and a linear one."""

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        width = self.argument("width")
        self.numbers("mean", size)
        self.numbers("scale", size)
        self.numbers("hidden_weight", width, size)
        self.numbers("hidden_bias", width)
        self.numbers("weight", self.num_decisions, width)
        self.numbers("bias", self.num_decisions)

    def decisions(self, x: Tensor) -> Tensor:
        """Return the output layer's sums [n, num_decisions]."""
        scaled = (x - self.get_buffer("mean")) / self.get_buffer("scale")
        hidden = (scaled @ self.get_buffer("hidden_weight").T + self.get_buffer("hidden_bias")).relu()
        return hidden @ self.get_buffer("weight").T + self.get_buffer("bias")
