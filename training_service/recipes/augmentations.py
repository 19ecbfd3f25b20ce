"""How rows are varied only where their modality can be: rows of numbers are trained on as they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from model_store.errors import InvalidInput
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import Augmentation, Recipe


def varied(recipe: Recipe, chosen: ChosenRecipe, place: str, known: Collection[Augmentation], modality: str) -> Recipe:
    """Return the recipe for a modality that knows these augmentations; another default of the recipe is left out.

    Raise InvalidInput where the caller chose another one, with the field of the recipe at `place`.
    """
    if recipe.augmentation in known:
        return recipe
    if "augmentation" in chosen.values:
        words = ", ".join(sorted(known))
        raise InvalidInput.of(
            f"{place}.{chosen.paths['augmentation']}",
            f"must be one of {words} for examples of the modality {modality}, not {recipe.augmentation}",
        )
    return replace(recipe, augmentation=Augmentation.NONE, view_count=0)
