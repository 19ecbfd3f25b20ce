"""What a caller may choose of a recipe: which hyperparameters, in which ranges; and the recipe where none is named."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from model_store.errors import InvalidInput, Violation
from training_service.recipes.recipe import CROPS, DEFAULTS, ENUMS, Optimizer, Recipe, RecipeName

_CLASSIC = frozenset({"num_epochs", "batch_size", "learning_rate", "weight_decay", "precision"})
_TRAINING = _CLASSIC | {
    "optimizer",
    "momentum",
    "nesterov",
    "schedule",
    "warmup_fraction",
    "find_learning_rate",
    "augmentation",
    "label_smoothing",
    "mixup_alpha",
    "cutmix_alpha",
    "class_weights",
    "max_gradient_norm",
    "accumulated_batches",
    "average_decay",
    "patience",
}
_FINE_TUNING = _TRAINING | {"backbone_learning_rate_factor", "stage_learning_rate_factor", "freeze_batch_norm"}
FIELDS: Mapping[RecipeName, frozenset[str]] = {
    RecipeName.LINEAR_PROBE: frozenset({"class_weights", "augmentation", "num_views"}),
    RecipeName.LAST_STAGES: _FINE_TUNING | {"num_stages", "num_views"},
    RecipeName.FULL: _FINE_TUNING,
    RecipeName.GRADUAL: _FINE_TUNING | {"epochs_per_stage"},
    RecipeName.CLASSIC: _CLASSIC,
    RecipeName.SCRATCH: _TRAINING,
}
"""Which of each recipe's hyperparameters a caller may choose."""

_ABOVE_0 = math.ulp(0.0)
_BELOW_1 = 1 - 2**-53
_RANGES: Mapping[str, tuple[float, float, str]] = {
    "num_stages": (1, math.inf, "at least 1"),
    "num_epochs": (1, 10_000, "1 to 10,000"),
    "batch_size": (1, 4_096, "1 to 4,096"),
    "learning_rate": (_ABOVE_0, 1e6, "above 0, at most 1,000,000"),
    "backbone_learning_rate_factor": (_ABOVE_0, 1, "above 0, at most 1"),
    "stage_learning_rate_factor": (_ABOVE_0, 1, "above 0, at most 1"),
    "weight_decay": (0, 1e6, "0 to 1,000,000"),
    "epochs_per_stage": (1, 10_000, "1 to 10,000"),
    "num_views": (0, 1_000, "0 to 1,000"),
    "momentum": (0, _BELOW_1, "at least 0, below 1"),
    "warmup_fraction": (0, _BELOW_1, "at least 0, below 1"),
    "label_smoothing": (0, _BELOW_1, "at least 0, below 1"),
    "mixup_alpha": (0, 100, "0 to 100"),
    "cutmix_alpha": (0, 100, "0 to 100"),
    "max_gradient_norm": (0, 1e6, "0 to 1,000,000"),
    "accumulated_batches": (1, 1_024, "1 to 1,024"),
    "average_decay": (0, _BELOW_1, "at least 0, below 1"),
    "patience": (0, 10_000, "0 to 10,000"),
}
# Below this many training rows a label, a head on the base's own features is hard to beat, and takes seconds.
_ROWS_FOR_LAST_STAGES = 50
# From here on there is enough to move all of the backbone without learning the rows by heart.
_ROWS_FOR_FULL = 500


def resolve(name: str, chosen: Mapping[str, Any], field: str) -> Recipe:
    """Fill a named recipe's defaults in around what was chosen; raise InvalidInput for all that does not fit."""
    if name not in set(RecipeName):
        known = ", ".join(RecipeName)
        raise InvalidInput.of(f"{field}.name", f"must be one of {known}, not {name[:80]!r}")
    return _filled(DEFAULTS[RecipeName(name)], chosen, field)


def choose(chosen: Mapping[str, Any], field: str, label_counts: Sequence[int]) -> Recipe:
    """Do the same for the recipe that fits so many training rows of each label."""
    return _filled(recipe_for(label_counts), chosen, field)


def choose_any(chosen: Mapping[str, Any], field: str) -> Recipe:
    """Return a recipe that the dataset may choose later; raise InvalidInput where none takes what was chosen."""
    refused: list[InvalidInput] = []
    for num_rows in (1, _ROWS_FOR_LAST_STAGES, _ROWS_FOR_FULL):
        try:
            return choose(chosen, field, [num_rows])
        except InvalidInput as error:
            refused.append(error)
    raise refused[-1]


def recipe_for(label_counts: Sequence[int]) -> Recipe:
    """Return the recipe for a dataset with so many training rows of each label, with the reason.

    The mean decides: a head fitted on few rows does better than a backbone moved by them, however they are spread.
    """
    rows = sum(label_counts) / max(len(label_counts), 1)
    if rows < _ROWS_FOR_LAST_STAGES:
        name, reason = RecipeName.LINEAR_PROBE, f"under {_ROWS_FOR_LAST_STAGES}: the head alone learns from so few"
    elif rows < _ROWS_FOR_FULL:
        name, reason = RecipeName.LAST_STAGES, f"under {_ROWS_FOR_FULL}: enough for the last stage as well"
    else:
        name, reason = RecipeName.FULL, f"{_ROWS_FOR_FULL} and more: enough for every stage"
    return replace(DEFAULTS[name], reason=f"{rows:.0f} training rows a label, {reason}")


def _filled(recipe: Recipe, chosen: Mapping[str, Any], field: str) -> Recipe:
    if violations := list(_violations(recipe, chosen, field)):
        raise InvalidInput(*violations)
    recipe = Recipe.from_json({**recipe.to_json(), **chosen})
    _check_whole(recipe, field)
    return recipe


def _check_whole(recipe: Recipe, field: str) -> None:
    """Raise InvalidInput where hyperparameters that are right by themselves do not go together."""
    if recipe.nesterov and (recipe.optimizer is not Optimizer.SGD or not recipe.momentum):
        raise InvalidInput.of(f"{field}.nesterov", "needs optimizer sgd, and momentum above 0")
    crops = recipe.augmentation in CROPS
    if recipe.num_views and not crops:
        raise InvalidInput.of(f"{field}.num_views", f"needs augmentation {' or '.join(sorted(CROPS))}")
    if recipe.name is RecipeName.LINEAR_PROBE and crops and not recipe.num_views:
        raise InvalidInput.of(
            f"{field}.num_views", "must be at least 1: a linear probe crops once, before it is fitted"
        )


def _violations(recipe: Recipe, chosen: Mapping[str, Any], field: str) -> Iterator[Violation]:
    for key, value in chosen.items():
        if key not in FIELDS[recipe.name]:
            why = f" (chosen by the data: {recipe.reason})" if recipe.reason else ""
            yield Violation(f"{field}.{key}", f"does not apply to {recipe.name}{why}: leave it out or name a recipe")
        elif rule := _broken_rule(key, value):
            yield Violation(f"{field}.{key}", f"must be {rule}, not {str(value)[:80]}")


def _broken_rule(key: str, value: Any) -> str:  # noqa: ANN401  any hyperparameter
    if key in ENUMS:
        words = [str(each) for each in ENUMS[key]]  # type: ignore[attr-defined]  # every one is an enum
        return "" if value in words else f"one of {', '.join(words)}"
    least, most, rule = _RANGES.get(key, (0, 1, "true or false"))
    return "" if least <= value <= most else rule
