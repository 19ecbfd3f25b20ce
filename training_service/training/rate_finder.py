"""Finds a learning rate: a sweep from a tiny rate upwards on a copy, until the loss goes up (arXiv:1506.01186)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

import torch

from model_store.architectures import Chain
from training_service.recipes.recipe import Recipe, Schedule
from training_service.training.trainer import Trainer, TrainingData

NUM_STEPS = 40
LEAST_RATE, MOST_RATE = 1e-6, 1.0
_MEMORY = 0.8
_NUM_FIRST = 5
# As a share of the loss of guessing. Where the head is good already, the loss is near 0, and one hard row doubles it.
_NOISE = 0.05


def find_learning_rate(
    chain: Chain,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    check_going_on: Callable[[], None],
) -> float:
    """Return a learning rate for the head; the chain is left as it is.

    Takes at most NUM_STEPS steps, all stages that will train at their shares of the rate, and stops where the loss is
    above the first ones by that of guessing. A tenth of the last rate at which it was as low as it ever became, but for
    noise, is safely below what diverges. Equal arguments give an equal rate.
    """
    sweep = replace(recipe, schedule=Schedule.CONSTANT, epochs_per_stage=0, average_decay=0.0, patience=0)
    trainer = Trainer(copy.deepcopy(chain), data, sweep, seed, device)
    guessing = data.task.guessing_loss(data.targets[data.train])
    losses: list[float] = []
    for step in range(NUM_STEPS):
        check_going_on()
        losses.append(trainer.train_step(swept_rate(step)).item())
        if not _smoothed(losses)[-1] < fmean(losses[:_NUM_FIRST]) + guessing:
            break
    return swept_rate(_last_low(_smoothed(losses), _NOISE * guessing)) / 10


def swept_rate(step: int) -> float:
    """Return the learning rate at a step of the sweep: each is the one before times the same number."""
    return float(LEAST_RATE * (MOST_RATE / LEAST_RATE) ** (step / (NUM_STEPS - 1)))


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Return the moving average up to each step; infinite from the first loss on that is no number."""
    average, weight, found = 0.0, 0.0, []
    for loss in losses:
        average = _MEMORY * average + (1 - _MEMORY) * loss
        weight = _MEMORY * weight + (1 - _MEMORY)
        found.append(average / weight if math.isfinite(average) else math.inf)
    return found


def _last_low(losses: Sequence[float], noise: float) -> int:
    """Return the last step whose loss is the lowest, give or take the noise."""
    return max(step for step, loss in enumerate(losses) if loss <= min(losses) + noise)
