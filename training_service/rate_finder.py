"""Finds a learning rate: a sweep from a tiny rate upwards on a copy, until the loss goes up (arXiv:1506.01186)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from model_store.architectures import Chain
from training_service.recipes import Recipe, Schedule
from training_service.trainer import Trainer, TrainingData

NUM_STEPS = 40
LEAST_RATE, MOST_RATE = 1e-6, 1.0
_MEMORY = 0.8
_DIVERGED = 3.0


def find_learning_rate(
    chain: Chain,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    check_going_on: Callable[[], None],
) -> float:
    """Return a learning rate for the head; the chain is left as it is.

    Takes at most NUM_STEPS steps, all stages that will train at their shares of the rate, and stops where the loss has
    trebled. Equal arguments give an equal rate.
    """
    sweep = replace(recipe, schedule=Schedule.CONSTANT, epochs_per_stage=0, average_decay=0.0, patience=0)
    trainer = Trainer(copy.deepcopy(chain), data, sweep, seed, device)
    losses: list[float] = []
    for step in range(NUM_STEPS):
        check_going_on()
        losses.append(trainer.train_step(swept_rate(step)))
        if not losses[-1] < _DIVERGED * min(losses):
            break
    return swept_rate(_lowest(losses)) / 10


def swept_rate(step: int) -> float:
    """Return the learning rate at a step of the sweep: each is the one before times the same number."""
    return float(LEAST_RATE * (MOST_RATE / LEAST_RATE) ** (step / (NUM_STEPS - 1)))


def _lowest(losses: Sequence[float]) -> int:
    """Return the step after which the smoothed loss was lowest: a tenth of its rate is safely below what diverges."""
    smoothed, weight, found = 0.0, 0.0, []
    for loss in losses:
        smoothed = _MEMORY * smoothed + (1 - _MEMORY) * loss
        weight = _MEMORY * weight + (1 - _MEMORY)
        found.append(smoothed / weight if math.isfinite(smoothed) else math.inf)
    return min(range(len(found)), key=found.__getitem__)
