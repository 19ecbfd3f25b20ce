"""The learning rate is a pure function of the step; PyTorch's own schedules say what it should be."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from training_service.optimization.schedule import rate_factor
from training_service.recipes.recipe import Schedule

NUM_STEPS = 50


def factors(schedule: Schedule, warmup_fraction: float = 0.0, num_steps: int = NUM_STEPS) -> list[float]:
    """Return the factor of every step."""
    return [rate_factor(step, num_steps, schedule, warmup_fraction) for step in range(num_steps)]


def rates_of(scheduler: LRScheduler) -> list[float]:
    """Return the rates that one of PyTorch's schedulers gives, step by step."""
    rates = []
    for _ in range(NUM_STEPS):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def optimizer() -> torch.optim.SGD:
    """Return an optimizer of a full rate of 1."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def test_the_rate_warms_up_and_falls() -> None:
    """Linear up over the warm-up, then half a cosine, never 0."""
    found = factors(Schedule.COSINE, 0.1, 100)
    assert found[:10] == pytest.approx([step / 11 for step in range(1, 11)])
    assert found[10] == 1.0
    assert found[55] == pytest.approx(0.5)
    assert 0 < found[99] < 0.001
    assert found[10:] == sorted(found[10:], reverse=True)


def test_cosine_is_pytorchs() -> None:
    """Without a warm-up."""
    assert factors(Schedule.COSINE) == pytest.approx(rates_of(CosineAnnealingLR(optimizer(), NUM_STEPS)))


def test_one_cycle_is_pytorchs() -> None:
    """It rises to the full rate at the same step, and ends as low."""
    expected = OneCycleLR(optimizer(), 1.0, total_steps=NUM_STEPS + 1, pct_start=0.3, cycle_momentum=False)
    found, rates = factors(Schedule.ONE_CYCLE, 0.3), rates_of(expected)
    assert (found[0], found[-1]) == pytest.approx((1 / 25, 1 / 250_000))
    assert found.index(max(found)) == 15
    assert max(abs(one - other) for one, other in zip(found, rates, strict=True)) < 0.1


def test_constant_is_constant() -> None:
    """After its warm-up, where it has one."""
    assert set(factors(Schedule.CONSTANT)) == {1.0}
    assert factors(Schedule.CONSTANT, 0.1)[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])


@pytest.mark.parametrize("schedule", Schedule)
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.3, 1 - 2**-53])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7])
def test_short_runs_have_rates_too(schedule: Schedule, warmup_fraction: float, num_steps: int) -> None:
    """Above 0 and at most 1, whatever the number of steps."""
    assert all(0 < factor <= 1 for factor in factors(schedule, warmup_fraction, num_steps))
