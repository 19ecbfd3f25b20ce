"""The search for a learning rate: one that learns, equal for equal seeds, and stopped where the job is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.training_service.training.test_ingredients import CPU, EVERYTHING, PLAIN, Told, same, trainer, weights
from training_service.recipes.recipe import (
    Optimizer,
    Recipe,
)
from training_service.training.rate_finder import LEAST_RATE, MOST_RATE, find_learning_rate


@pytest.mark.parametrize(("optimizer", "least", "most"), [("sgd", 1e-3, 0.5), ("adamw", 1e-4, 0.1)])
def test_a_learning_rate_is_found(optimizer: str, least: float, most: float) -> None:
    """One that learns, far from both ends of the sweep; the chain is left as it was, and the answer is repeatable."""
    recipe = replace(PLAIN, optimizer=Optimizer(optimizer), epoch_count=8)
    made = trainer(recipe)
    before = weights(made)
    found, again = (
        find_learning_rate(made._chain, made._data, replace(EVERYTHING, optimizer=recipe.optimizer), 0, CPU, bool)
        for _ in range(2)
    )
    assert LEAST_RATE < least < found < most < MOST_RATE
    assert found == again
    assert same(weights(made), before)
    quick, slow = (trained_loss(replace(recipe, learning_rate=rate)) for rate in (found, found / 1000))
    assert quick < 0.7 * slow


@pytest.mark.parametrize("seed", range(5))
def test_a_network_that_is_good_already_gets_a_rate_too(seed: int) -> None:
    """Its loss is all noise until a rate is too high: the sweep neither stops at that noise, nor takes a dip for it."""
    made = trainer(replace(PLAIN, epoch_count=40), seed)
    made.train(Told(), lambda: None)
    found = find_learning_rate(made._chain.requires_grad_(), made._data, PLAIN, seed, CPU, bool)
    assert 1e-3 < found < 0.5


def trained_loss(recipe: Recipe) -> float:
    """Return the mean loss of the last epoch."""
    made = trainer(recipe)
    losses: Sequence[float] = [made.train_step().item() for _ in range(made.num_steps)]
    return float(np.mean(losses[-made.steps_per_epoch :]))


def test_the_sweep_can_be_broken_off() -> None:
    """A job that is to stop need not wait for its end."""
    made, calls = trainer(PLAIN), itertools.count()

    def check() -> None:
        if next(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        find_learning_rate(made._chain, made._data, PLAIN, 0, CPU, check)
