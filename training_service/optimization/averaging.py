"""The moving average of weights: smoother than the last step's, and often better."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(module: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of parameters and buffers, which begins with the module as it is.

    Each `update_parameters` does `average += (1 - d) * (weights - average)`, d = min(decay, n / (9 + n)) at the nth
    one: the first steps count more, or the start would never be forgotten in a short run. Whole numbers, such as
    BatchNorm's counter, are the latest; what does not change keeps its bits.
    """

    @torch.no_grad()
    def update(averages: Any, weights: Any, count: Tensor | int) -> None:  # noqa: ANN401  as PyTorch calls it
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, 1 - min(decay, int(count) / (9 + int(count))))
        else:
            torch._foreach_copy_(averages, weights)

    average = AveragedModel(module, multi_avg_fn=update, use_buffers=True)
    set_count(average, 0)
    return average


def set_count(average: AveragedModel, num_updates: int) -> None:
    """Say how many updates there were: one that was not counted would replace the start instead."""
    average.n_averaged.fill_(num_updates + 1)
