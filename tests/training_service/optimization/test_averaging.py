"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training_service.optimization.averaging import moving_average, set_count


class Module(nn.Module):
    """A weight, and a counter as BatchNorm has one."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_buffer("count", torch.tensor(0))

    def move(self, weight: torch.Tensor) -> None:
        """Take other weights, as a step does."""
        with torch.no_grad():
            self.weight.copy_(weight)
            self.count += 1


def test_it_is_an_exponential_average() -> None:
    """Far from the start, each step counts 1 - decay; the counter is the latest."""
    module = Module(torch.tensor([0.0]))
    average = moving_average(module, 0.9)
    set_count(average, 1000)
    for _ in range(10):
        module.move(torch.tensor([1.0]))
        average.update_parameters(module)
    assert average.module.weight.item() == pytest.approx(1 - 0.9**10)
    assert average.module.count == 10


def test_each_step_is_the_formula_bit_by_bit() -> None:
    """The numbers are those of the loop that PyTorch's own class replaced: a recipe gives the same version."""
    random = torch.Generator().manual_seed(0)
    module = Module(torch.randn(1000, generator=random))
    average, expected = moving_average(module, 0.8), module.weight.detach().clone()
    for step in range(20):
        module.move(torch.randn(1000, generator=random))
        average.update_parameters(module)
        expected.lerp_(module.weight.detach(), 1 - min(0.8, (1 + step) / (10 + step)))
    assert torch.equal(average.module.weight, expected)


def test_the_start_is_forgotten_soon() -> None:
    """A decay of 0.999 would remember it for thousands of steps."""
    module = Module(torch.tensor([0.0]))
    average = moving_average(module, 0.999)
    for _ in range(40):
        module.move(torch.tensor([1.0]))
        average.update_parameters(module)
    assert average.module.weight > 0.99


def test_what_does_not_move_stays_bit_by_bit() -> None:
    """A stage that is frozen so far keeps its digest, averaged or not."""
    module = Module(torch.randn(1000))
    average = moving_average(module, 0.99)
    for _ in range(20):
        average.update_parameters(module)
    assert torch.equal(average.module.weight, module.weight)
    assert average.module.weight is not module.weight
