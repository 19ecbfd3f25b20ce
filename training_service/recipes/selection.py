"""The rules of feature selection: which hyperparameters go together, and which bases have a stage for it."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.errors import InvalidInput
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import OF_SELECTION

SELECT = "select"
"""The stage that selects features, and the field that chooses how."""


def check_selection(chosen: ChosenRecipe, place: str, stages: Sequence[str], num_features: int) -> None:
    """Raise InvalidInput, with the field of the recipe at `place`, where a base cannot select the features asked for.

    `stages` are those of the base, and `num_features` is the size of its embedding.
    """
    asked = [key for key in chosen.values if key in OF_SELECTION]
    if not asked:
        return
    if SELECT not in stages:
        rule = (
            f"needs a base with a stage {SELECT!r}, as the one that the service makes for rows of the modality table: "
            "leave the base out, and upload numbers with --modality table, too"
        )
        raise InvalidInput.of(f"{place}.{chosen.paths[asked[0]]}", rule)
    count = chosen.values.get("select_count", 0)
    if count > num_features:
        rule = f"must be at most {num_features}, the number of features of the base, not {count}"
        raise InvalidInput.of(f"{place}.{chosen.paths['select_count']}", rule)
