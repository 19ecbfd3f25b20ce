"""What a search tries, as pure data: recipes, and the hyperparameters of each that vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import RecipeName

DEFAULT_TRIALS = 20
Value = str | float | bool
"""Of a hyperparameter: a word, a number, or true or false."""


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, whole ones where `is_whole`."""

    low: float
    high: float
    is_logarithmic: bool = False
    is_whole: bool = False

    def __contains__(self, value: object) -> bool:
        """Say whether a value is one of these numbers."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values to check: if both are allowed, all between them are."""
        return (int(self.low), int(self.high)) if self.is_whole else (self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "low": self.low,
            "high": self.high,
            "is_logarithmic": self.is_logarithmic,
            "is_whole": self.is_whole,
        }


@dataclass(frozen=True)
class Choices:
    """A few values."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        """Say whether a value is one of these."""
        return value in self.values

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values to check."""
        return self.values

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"choices": list(self.values)}


@dataclass(frozen=True)
class RecipeSpace:
    """A recipe: hyperparameters that are `fixed`, and those that vary, with the field of the request for each."""

    name: RecipeName
    fixed: Mapping[str, Any]
    dimensions: Mapping[str, Range | Choices]
    paths: Mapping[str, str]

    def chosen(self, values: Mapping[str, Any]) -> ChosenRecipe:
        """Return the recipe as a caller would have chosen it with these values of the dimensions."""
        return ChosenRecipe(self.name, {**self.fixed, **values}, self.paths)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        dimensions = {key: each.to_json() for key, each in self.dimensions.items()}
        return {
            "name": str(self.name),
            "fixed": dict(self.fixed),
            "dimensions": dimensions,
            "paths": dict(self.paths),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes."""
        dimensions = {key: _dimension(each) for key, each in values["dimensions"].items()}
        return cls(RecipeName(values["name"]), values["fixed"], dimensions, values["paths"])


@dataclass(frozen=True)
class Search:
    """Recipes to try in at most `max_trials` trials, and in `limit_seconds` where there is a limit."""

    recipes: Sequence[RecipeSpace]
    max_trials: int = DEFAULT_TRIALS
    limit_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "recipes": [each.to_json() for each in self.recipes],
            "max_trials": self.max_trials,
            "limit_seconds": self.limit_seconds,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes."""
        recipes = tuple(RecipeSpace.from_json(each) for each in values["recipes"])
        return cls(recipes, values["max_trials"], values["limit_seconds"])


def _dimension(values: Mapping[str, Any]) -> Range | Choices:
    return Choices(tuple(values["choices"])) if "choices" in values else Range(**values)
