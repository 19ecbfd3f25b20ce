"""The moving average of weights: smoother than the last step's, and often better."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class WeightAverage:
    """An exponential moving average of tensors by name; whole numbers, such as BatchNorm's counter, are the latest.

    `average += (1 - d) * (weights - average)` with d = min(decay, (1 + step) / (10 + step)): the first steps count
    more, or the start would never be forgotten in a short run.
    """

    def __init__(self, decay: float, start: Mapping[str, Tensor]) -> None:
        self._decay = decay
        self.tensors: Tensors = {name: tensor.clone() for name, tensor in start.items()}

    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Take in the weights after so many steps."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, average in self.tensors.items():
                if average.is_floating_point():
                    average.lerp_(weights[name], share)
                else:
                    average.copy_(weights[name])
