"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch

from training_service.optimization.averaging import WeightAverage


def test_it_is_an_exponential_average() -> None:
    """Far from the start, each step counts 1 - decay; the counter is the latest."""
    average = WeightAverage(0.9, {"w": torch.tensor([0.0]), "count": torch.tensor(0)})
    for step in range(1000, 1010):
        average.update({"w": torch.tensor([1.0]), "count": torch.tensor(step)}, step)
    assert average.tensors["w"].item() == pytest.approx(1 - 0.9**10)
    assert average.tensors["count"] == 1009


def test_the_start_is_forgotten_soon() -> None:
    """A decay of 0.999 would remember it for thousands of steps."""
    average = WeightAverage(0.999, {"w": torch.tensor([0.0])})
    for step in range(40):
        average.update({"w": torch.tensor([1.0])}, step)
    assert average.tensors["w"] > 0.99


def test_what_does_not_move_stays_bit_by_bit() -> None:
    """A stage that is frozen so far keeps its digest, averaged or not."""
    weights = torch.randn(1000)
    average = WeightAverage(0.99, {"w": weights})
    for step in range(20):
        average.update({"w": weights}, step)
    assert torch.equal(average.tensors["w"], weights)
    assert average.tensors["w"] is not weights
