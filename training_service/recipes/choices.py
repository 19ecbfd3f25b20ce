"""Completes the recipe that a caller chose, checks the ranges, and chooses a recipe where the caller named none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from model_store.errors import InvalidInput, Violation
from training_service.recipes.head_names import HeadName
from training_service.recipes.recipe import CROPS, DEFAULTS, ENUMS, FeatureSelection, Optimizer, Recipe, RecipeName

_ABOVE_0 = math.ulp(0.0)
_BELOW_1 = 1 - 2**-53
_RANGES: Mapping[str, tuple[float, float, str]] = {
    "stage_count": (1, math.inf, "at least 1"),
    "epoch_count": (1, 10_000, "1 to 10,000"),
    "batch_size": (1, 4_096, "1 to 4,096"),
    "learning_rate": (_ABOVE_0, 1e6, "above 0, at most 1,000,000"),
    "backbone_learning_rate_factor": (_ABOVE_0, 1, "above 0, at most 1"),
    "stage_learning_rate_factor": (_ABOVE_0, 1, "above 0, at most 1"),
    "weight_decay": (0, 1e6, "0 to 1,000,000"),
    "epochs_per_stage": (1, 10_000, "1 to 10,000"),
    "view_count": (0, 1_000, "0 to 1,000"),
    "beta1": (0, _BELOW_1, "at least 0, below 1"),
    "momentum": (0, _BELOW_1, "at least 0, below 1"),
    "warmup_fraction": (0, _BELOW_1, "at least 0, below 1"),
    "label_smoothing": (0, _BELOW_1, "at least 0, below 1"),
    "mixup_alpha": (0, 100, "0 to 100"),
    "cutmix_alpha": (0, 100, "0 to 100"),
    "max_gradient_norm": (0, 1e6, "0 to 1,000,000"),
    "batches_per_step": (1, 1_024, "1 to 1,024"),
    "average_decay": (0, _BELOW_1, "at least 0, below 1"),
    "patience": (0, 10_000, "0 to 10,000"),
    "strength": (1e-9, 1e9, "1e-9 to 1e9"),
    "smoothing": (1e-12, 1e6, "1e-12 to 1e6"),
    "presence_threshold": (-1e30, 1e30, "-1e30 to 1e30"),
    "gamma": (1e-12, 1e12, "1e-12 to 1e12"),
    "neighbour_count": (1, 10_000, "1 to 10,000"),
    "hidden_width": (1, 10_000, "1 to 10,000"),
    "tree_count": (1, 10_000, "1 to 10,000"),
    "tree_learning_rate": (1e-6, 1, "1e-6 to 1"),
    "leaf_count": (2, 1_000, "2 to 1,000"),
    "forest_tree_count": (1, 1_000, "1 to 1,000"),
    "leaf_row_count": (1, 100_000, "1 to 100,000"),
    "select_count": (1, 1_000_000, "1 to 1,000,000"),
    "select_threshold": (0, 1e30, "0 to 1e30"),
}
# Below this many training rows a label, a head on the base's own features is hard to beat, and takes seconds.
_ROWS_FOR_LAST_STAGES = 50
# From here on there is enough to move all of the backbone without learning the rows by heart.
_ROWS_FOR_FULL = 500


@dataclass(frozen=True)
class ChosenRecipe:
    """A recipe as a caller chose it: with `name` None, the service chooses.

    `values` are the hyperparameters that the caller chose, and `paths` the field of the request's recipe for each
    hyperparameter.
    """

    name: RecipeName | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` returns."""
        name = RecipeName(values["name"]) if values["name"] is not None else None
        return cls(name, values["values"], values["paths"])


def resolve(name: RecipeName, chosen: ChosenRecipe, place: str) -> Recipe:
    """Fill in the defaults of a named recipe around the caller's values.

    Raises InvalidInput for every value that does not fit, with the fields of the recipe at `place`.
    """
    return _filled(DEFAULTS[name], chosen, place)


def choose(chosen: ChosenRecipe, place: str, rows_per_output: float, *, has_classes: bool = True) -> Recipe:
    """Do the same for the recipe that fits the mean number of training rows of each label or target."""
    return _filled(recipe_for(rows_per_output, has_classes=has_classes), chosen, place)


def choose_head(chosen: ChosenRecipe, place: str) -> Recipe:
    """Do the same for a base that has no stage to train: the head is fitted on what it puts out."""
    reason = "the base has no stage to train: the head is chosen by cross-validation"
    return _filled(replace(DEFAULTS[RecipeName.FIT_HEAD], head=HeadName.AVERAGE, reason=reason), chosen, place)


def choose_any(chosen: ChosenRecipe, place: str) -> Recipe:
    """Return a recipe that the dataset may choose later; raise InvalidInput if none accepts the caller's values."""
    refused: list[InvalidInput] = []
    for num_rows in (1, _ROWS_FOR_LAST_STAGES, _ROWS_FOR_FULL):
        try:
            return choose(chosen, place, num_rows)
        except InvalidInput as error:
            refused.append(error)
    raise refused[-1]


def recipe_for(rows: float, *, has_classes: bool = True) -> Recipe:
    """Return the recipe, and the reason, for a dataset with this mean number of training rows of each label.

    Without labels, the rows are all training rows.

    The mean decides: on few rows a fitted head does better than a moved backbone, however the rows are spread.
    """
    if rows < _ROWS_FOR_LAST_STAGES:
        name, reason = RecipeName.LINEAR_PROBE, f"under {_ROWS_FOR_LAST_STAGES}: the head alone learns from so few"
    elif rows < _ROWS_FOR_FULL:
        name, reason = RecipeName.LAST_STAGES, f"under {_ROWS_FOR_FULL}: enough for the last stage as well"
    else:
        name, reason = RecipeName.FULL, f"{_ROWS_FOR_FULL} and more: enough for every stage"
    each = " a label" if has_classes else ""
    return replace(DEFAULTS[name], reason=f"{rows:.0f} training rows{each}, {reason}")


def _filled(recipe: Recipe, chosen: ChosenRecipe, place: str) -> Recipe:
    if violations := list(_violations(chosen, place)):
        raise InvalidInput(*violations)
    recipe = Recipe.from_json({**recipe.to_json(), **chosen.values})
    if recipe.optimizer is not Optimizer.SGD:
        recipe = replace(recipe, nesterov=False)
    _check_whole(recipe, chosen, place)
    return recipe


def _check_whole(recipe: Recipe, chosen: ChosenRecipe, place: str) -> None:
    """Raise InvalidInput where hyperparameters that are right by themselves do not go together."""
    if recipe.nesterov and not recipe.momentum:
        raise InvalidInput.of(f"{place}.{chosen.paths['nesterov']}", "needs a momentum above 0")
    if recipe.select is None and recipe.select_count is not None:
        text = f"needs select: one of {', '.join(FeatureSelection)}"
        raise InvalidInput.of(f"{place}.{chosen.paths['select_count']}", text)
    if recipe.select not in {None, FeatureSelection.VARIANCE} and recipe.select_count is None:
        text = f"must be set: how many features to keep by {recipe.select}"
        raise InvalidInput.of(f"{place}.{chosen.paths['select_count']}", text)
    crops = recipe.augmentation in CROPS
    if recipe.view_count and not crops:
        text = f"needs augmentation {' or '.join(sorted(CROPS))}"
        raise InvalidInput.of(f"{place}.{chosen.paths['view_count']}", text)
    if not recipe.has_steps and crops and not recipe.view_count:
        why = f" (chosen by the data: {recipe.reason})" if recipe.reason else ""
        named = "a linear probe" if recipe.name is RecipeName.LINEAR_PROBE else "a fit of the head alone"
        text = f"{named}{why} crops once, before it is fitted: it needs a view_count of at least 1"
        raise InvalidInput.of(f"{place}.{chosen.paths['augmentation']}", text)


def _violations(chosen: ChosenRecipe, place: str) -> Iterator[Violation]:
    for key, value in chosen.values.items():
        if rule := _broken_rule(key, value):
            yield Violation(f"{place}.{chosen.paths[key]}", f"must be {rule}, not {str(value)[:80]}")


def _broken_rule(key: str, value: Any) -> str:  # noqa: ANN401  any hyperparameter
    if key == "fit":  # its words are those of the base's modality
        return ""
    if key in ENUMS:
        words = [str(each) for each in ENUMS[key]]  # type: ignore[attr-defined]  # every one is an enum
        return "" if value in words else f"one of {', '.join(words)}"
    least, most, rule = _RANGES.get(key, (0, 1, "true or false"))
    return "" if least <= value <= most else rule
