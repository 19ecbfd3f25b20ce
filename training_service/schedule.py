"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from training_service.recipes import Schedule


def rate_factor(step: int, num_steps: int, schedule: Schedule, warmup_fraction: float = 0.0) -> float:
    """Return the share of the full learning rate, above 0 and at most 1, at a step from 0 to num_steps - 1.

    Linear warm-up over the first share of all steps, then constant, or half a cosine down to about 0.
    """
    num_warmup = math.floor(warmup_fraction * num_steps)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    if schedule is Schedule.CONSTANT:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / (num_steps - num_warmup)))
