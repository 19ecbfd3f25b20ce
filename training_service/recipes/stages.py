"""Which stages of a backbone a recipe trains, when, and at which rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from model_store.errors import InvalidInput
from training_service.recipes.recipe import Recipe, RecipeName


def trained_stages(recipe: Recipe, trainable: Sequence[str], field: str = "stage_count") -> tuple[str, ...]:
    """Return which backbone stages train in the end; `trainable` are those with parameters, first to last.

    A gradual recipe that ends before it comes down to a stage leaves it alone. Raise InvalidInput for `field` where
    the recipe asks for more stages than there are.
    """
    if not recipe.has_steps:
        return ()
    if recipe.epochs_per_stage:
        return tuple(active_stages(trainable, recipe.epochs_per_stage, recipe.epoch_count - 1))
    if recipe.name is not RecipeName.LAST_STAGES:
        return tuple(trainable)
    if recipe.stage_count > len(trainable):
        names = ", ".join(trainable)
        raise InvalidInput.of(field, f"must be at most {len(trainable)}, as the base has the stages {names}")
    return tuple(trainable[-recipe.stage_count :])


def active_stages(stages: Sequence[str], epochs_per_stage: int, epoch: int) -> Sequence[str]:
    """Return which of a backbone's stages, first to last, train in an epoch from 0: the last few, and more and more.

    None in the first `epochs_per_stage` epochs, then one more after each further `epochs_per_stage`; all at once if it
    is 0.
    """
    num_active = epoch // epochs_per_stage if epochs_per_stage else len(stages)
    return stages[max(len(stages) - num_active, 0) :]


def stage_rate(recipe: Recipe, distance: int) -> float:
    """Return a stage's share of the head's learning rate, by its distance from the head: 0 is the head itself."""
    if distance == 0:
        return 1.0
    return recipe.backbone_learning_rate_factor * math.pow(recipe.stage_learning_rate_factor, distance - 1)
