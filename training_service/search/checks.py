"""Checks a search before it is queued: every value of its space must be one that a job would be queued with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from model_store.errors import InvalidInput, Violation
from model_store.manifests import Manifest
from model_store.records.resources import Dataset
from training_service.choosing.recipe_choice import check_on_base, named_recipe, of_dataset
from training_service.modalities import RECIPES
from training_service.recipes.modality_fields import with_defaults
from training_service.recipes.recipe import DEFAULTS, Recipe
from training_service.search.space import Choices, Range, RecipeSpace, Search

_MAX_SECONDS = 7 * 24 * 3600
_MAX_TRIALS = 1_000
_MAX_RECIPES = 20


def check_search(search: Search, place: str) -> None:
    """Raise InvalidInput naming what is wrong with a search, whatever its base and its dataset are."""
    if violations := tuple(_violations(search, place)):
        raise InvalidInput(*violations)


def _violations(search: Search, place: str) -> Iterator[Violation]:
    if not 1 <= search.max_trials <= _MAX_TRIALS:
        yield Violation(f"{place}.max_trial_count", f"must be 1 to {_MAX_TRIALS}, not {search.max_trials}")
    if search.limit_seconds is not None and not 1 <= search.limit_seconds <= _MAX_SECONDS:
        yield Violation(f"{place}.time_limit", f"must be 1 to {_MAX_SECONDS:,} seconds")
    names = [space.name for space in search.recipes]
    if not 1 <= len(names) <= _MAX_RECIPES:
        yield Violation(f"{place}.recipes", f"must be 1 to {_MAX_RECIPES} recipes, not {len(names)}")
    for number, space in enumerate(search.recipes):
        if space.name in names[:number]:
            yield Violation(f"{place}.recipes[{number}].recipe", f"is {space.name}, which stands there already")
        for key, dimension in space.dimensions.items():
            field = f"{place}.recipes[{number}].{space.paths[key]}"
            if isinstance(dimension, Range):
                yield from _range_violations(dimension, field)


def _range_violations(found: Range, field: str) -> Iterator[Violation]:
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        yield Violation(field, "must be a range between finite numbers")
    elif found.low > found.high:
        yield Violation(field, f"must have a low of at most its high, not {found.low:g} and {found.high:g}")
    elif found.is_logarithmic and found.low <= 0:
        yield Violation(field, f"must begin above 0 where it is logarithmic, not at {found.low:g}")
    elif found.is_whole and not (found.low.is_integer() and found.high.is_integer()):
        yield Violation(field, f"must be a range between whole numbers, not {found.low:g} and {found.high:g}")


def check_space(search: Search, place: str, base: Manifest | None, dataset: Dataset | None) -> Recipe:
    """Return the recipe of the first trial; raise InvalidInput for a value that a base or a dataset does not allow.

    Each value is checked beside the first values of all others.
    """
    recipes = []
    for number, space in enumerate(search.recipes):
        where, first = f"{place}.recipes[{number}]", first_values(space, dataset)
        recipes.append(recipe_of(space, first, where, base, dataset))
        for key, dimension in space.dimensions.items():
            for value in dimension.extremes:
                recipe_of(space, {**first, key: value}, where, base, dataset)
    return recipes[0]


def recipe_of(
    space: RecipeSpace, values: Mapping[str, Any], place: str, base: Manifest | None, dataset: Dataset | None
) -> Recipe:
    """Return the recipe of a trial, with these values of what varies; raise InvalidInput where they do not fit."""
    chosen = space.chosen(values)
    recipe = named_recipe(chosen, place) or DEFAULTS[space.name]
    if base is not None:
        check_on_base(base, "the base", recipe, chosen, place)
    return of_dataset(recipe, chosen, place, dataset) if dataset is not None else recipe


def first_values(space: RecipeSpace, dataset: Dataset | None) -> dict[str, Any]:
    """Return the value of each dimension in the first trial: the recipe's default, or the nearest one to it."""
    own = DEFAULTS[space.name]
    if dataset is not None:
        own = with_defaults(own, space.chosen({}), RECIPES.get(dataset.summary["modality"], {}))
    values = own.to_json()
    return {key: _nearest(dimension, values.get(key)) for key, dimension in space.dimensions.items()}


def _nearest(dimension: Range | Choices, value: Any) -> Any:  # noqa: ANN401  of any hyperparameter
    if value in dimension:
        return value
    if isinstance(dimension, Choices) or not isinstance(value, int | float):
        return dimension.extremes[0]
    low, high = dimension.extremes
    return low if value < dimension.low else high
