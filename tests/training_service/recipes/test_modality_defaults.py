"""A modality's own defaults fill what the caller left open, and nothing else."""

from __future__ import annotations

from training_service.modalities import RECIPES
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.modality_fields import with_defaults
from training_service.recipes.recipe import DEFAULTS, HeadStart, Optimizer, RecipeName


def test_a_default_of_the_modality_counts_where_the_caller_chose_none() -> None:
    """The caller's rate stays, and a recipe without defaults of its own is as it was."""
    full = DEFAULTS[RecipeName.FULL]
    chosen = ChosenRecipe(RecipeName.FULL, {"learning_rate": full.learning_rate})
    found = with_defaults(full, chosen, RECIPES["text"])
    assert (found.head_start, found.learning_rate) == (HeadStart.RANDOM, full.learning_rate)
    assert with_defaults(full, chosen, {}) == full
    probe = DEFAULTS[RecipeName.LINEAR_PROBE]
    assert with_defaults(probe, ChosenRecipe(RecipeName.LINEAR_PROBE), RECIPES["text"]) == probe
    scratch = with_defaults(DEFAULTS[RecipeName.SCRATCH], ChosenRecipe(RecipeName.SCRATCH), RECIPES["text"])
    assert (scratch.optimizer, scratch.nesterov) == (Optimizer.ADAMW, False)
