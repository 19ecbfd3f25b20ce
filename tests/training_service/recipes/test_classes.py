"""A regression is trained without what smooths and weighs classes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_store.errors import InvalidInput
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.classes import suited
from training_service.recipes.recipe import DEFAULTS, ClassWeights, RecipeName

SCRATCH = DEFAULTS[RecipeName.SCRATCH]
CHOSEN = ChosenRecipe(
    RecipeName.SCRATCH,
    {"label_smoothing": 0.2, "class_weights": ClassWeights.BALANCED},
    {"label_smoothing": "scratch.label_smoothing", "class_weights": "scratch.class_weights"},
)


def test_defaults_of_classes_are_left_out() -> None:
    """A recipe from random weights smooths labels, where there are some."""
    assert SCRATCH.label_smoothing > 0
    assert suited(SCRATCH, ChosenRecipe(), "recipe", has_classes=True) == SCRATCH
    assert suited(SCRATCH, ChosenRecipe(), "recipe", has_classes=False) == replace(SCRATCH, label_smoothing=0)


def test_what_was_chosen_is_refused() -> None:
    """Each by its field; what is chosen to be off is not."""
    assert suited(SCRATCH, CHOSEN, "recipe", has_classes=True) == SCRATCH
    with pytest.raises(InvalidInput, match="without classes") as caught:
        suited(SCRATCH, CHOSEN, "recipe", has_classes=False)
    fields = [each.field for each in caught.value.violations]
    assert fields == ["recipe.scratch.label_smoothing", "recipe.scratch.class_weights"]
    off = replace(CHOSEN, values={"label_smoothing": 0.0, "class_weights": ClassWeights.NONE})
    assert suited(SCRATCH, off, "recipe", has_classes=False).label_smoothing == 0
