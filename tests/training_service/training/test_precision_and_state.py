"""Training in bfloat16, and training that goes on from a saved state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training_service.training.test_ingredients import EVERYTHING, PLAIN, Told, same, trainer, weights
from training_service.recipes.recipe import (
    Optimizer,
    Precision,
)


@pytest.mark.parametrize("optimizer", Optimizer)
def test_bfloat16_trains_weights_of_float32(optimizer: Optimizer) -> None:
    """The steps are others, and the loss falls as it does in float32."""
    rate = 0.005 if optimizer is Optimizer.ADAMW else 0.05
    recipe = replace(PLAIN, optimizer=optimizer, learning_rate=rate, epoch_count=6)
    coarse, fine = trainer(replace(recipe, precision=Precision.BFLOAT16)), trainer(recipe)
    losses = [[made.train_step().item() for _ in range(made.num_steps)] for made in (coarse, fine)]
    assert {tensor.dtype for tensor in weights(coarse).values()} == {torch.float32}
    assert losses[0] != losses[1]
    first, last = (np.mean(part) for part in (losses[0][:6], losses[0][-6:]))
    assert last < 0.8 * first
    assert last == pytest.approx(np.mean(losses[1][-6:]), rel=0.2)


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_a_run_killed_at_any_step_ends_bit_by_bit_as_one_that_was_not(
    precision: Precision, optimizer: Optimizer
) -> None:
    """With every ingredient at once: gradual, averaged, mixed, weighted, clipped, accumulated, patient."""
    recipe = replace(EVERYTHING, precision=precision, optimizer=optimizer)
    whole = trainer(recipe)
    states = []
    whole.train(Told(), lambda: states.append(whole.state_dict()))
    assert len(states) == whole.step == 12
    for state in states:
        rest = trainer(recipe)
        rest.load_state_dict(state)
        rest.train(Told(), lambda: None)
        assert rest.step == whole.step
        assert same(weights(rest), weights(whole))
