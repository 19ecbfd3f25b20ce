"""Hyperparameters that mean something only where a task has classes: a regression is trained without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model_store.errors import InvalidInput, Violation
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import ClassWeights, Recipe

_WITHOUT: Mapping[str, Any] = {"label_smoothing": 0.0, "class_weights": ClassWeights.NONE}


def suited(recipe: Recipe, chosen: ChosenRecipe, place: str, *, has_classes: bool) -> Recipe:
    """Return the recipe for a task; smoothing and weights by class are removed for a task without classes.

    Raise InvalidInput if the caller chose them, with the fields of the recipe at `place`.
    """
    if has_classes:
        return recipe
    refused = [key for key, off in _WITHOUT.items() if chosen.values.get(key, off) != off]
    if refused:
        reason = "does not apply to a task without classes: leave it out"
        raise InvalidInput(*(Violation(f"{place}.{chosen.paths[key]}", reason) for key in refused))
    return replace(recipe, **_WITHOUT)
