"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from training_service.recipes.recipe import Schedule

# Where one-cycle begins and ends, as shares of the full rate: PyTorch's own choice (`OneCycleLR`).
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1 / 250_000


def rate_factor(step: int, num_steps: int, schedule: Schedule, warmup_fraction: float = 0.0) -> float:
    """Return the share of the full learning rate, above 0 and at most 1, at a step from 0 to num_steps - 1.

    Linear warm-up over the first share of all steps, then constant, or half a cosine down to about 0. One-cycle rises
    by half a cosine over that share of the steps, and falls by half a cosine over the rest (arXiv:1708.07120).
    """
    num_warmup = math.floor(warmup_fraction * num_steps)
    if schedule is Schedule.ONE_CYCLE:
        return _one_cycle(step, num_steps, num_warmup)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    if schedule is Schedule.CONSTANT:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / (num_steps - num_warmup)))


def _one_cycle(step: int, num_steps: int, num_rising: int) -> float:
    if step < num_rising:
        return _between(ONE_CYCLE_START, 1.0, step / num_rising)
    return _between(1.0, ONE_CYCLE_END, (step - num_rising) / max(num_steps - 1 - num_rising, 1))


def _between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
