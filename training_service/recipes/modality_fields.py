"""The hyperparameters whose values are the modality's own: augmentation, and the variant of the base's input spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from model_store.errors import InvalidInput
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import Augmentation, Recipe, RecipeName


def with_defaults(recipe: Recipe, chosen: ChosenRecipe, defaults: Mapping[RecipeName, Mapping[str, Any]]) -> Recipe:
    """Return the recipe with a modality's own defaults of what the caller did not choose."""
    own = defaults.get(recipe.name, {})
    return replace(recipe, **{key: value for key, value in own.items() if key not in chosen.values})


def varied(recipe: Recipe, chosen: ChosenRecipe, place: str, known: Collection[Augmentation], modality: str) -> Recipe:
    """Return the recipe for a modality that knows these augmentations; another default of the recipe is left out.

    Raise InvalidInput where the caller chose another one, with the field of the recipe at `place`.
    """
    if recipe.augmentation in known:
        return recipe
    if "augmentation" in chosen.values:
        raise _unknown("augmentation", chosen, place, known, modality)
    return replace(recipe, augmentation=Augmentation.NONE, view_count=0)


def check_fit(chosen: ChosenRecipe, place: str, known: Collection[str], modality: str) -> None:
    """Raise InvalidInput where the caller chose a fit that the modality has not, with the field at `place`."""
    if "fit" in chosen.values and chosen.values["fit"] not in known:
        raise _unknown("fit", chosen, place, known, modality)


def _unknown(key: str, chosen: ChosenRecipe, place: str, known: Collection[str], modality: str) -> InvalidInput:
    rule = f"must be one of {', '.join(sorted(known))}" if known else "must be unset"
    return InvalidInput.of(
        f"{place}.{chosen.paths[key]}",
        f"{rule} for examples of the modality {modality}, not {str(chosen.values[key])[:80]}",
    )
