"""Chooses what the next trial tries, by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011). Pure.

The study is made anew for each trial, from the trials before it: nothing of it has to outlive a process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training_service.recipes.recipe import RecipeName
from training_service.search.space import Choices, Range, RecipeSpace, Value
from training_service.seeds import derived_seed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

_RECIPE = "recipe"
_NUM_RANDOM = 4
"""Trials with random values before the estimator decides: it needs a few results."""
_MAX_DRAWS = 20
"""Draws before a space counts as tried out."""


@dataclass(frozen=True)
class Point:
    """A place in the space: a recipe, and a value for each of its dimensions."""

    name: RecipeName
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """A trial so far: its metric, the higher the better, or None while it runs; failed trials are left out."""

    point: Point
    metric: float | None


def suggest(
    spaces: Sequence[RecipeSpace],
    told: Sequence[Told],
    tried: Collection[Point],
    seed: int,
    allowed: Collection[RecipeName],
) -> Point | None:
    """Return a point of the allowed recipes that was not tried; equal arguments give equal points.

    None means that none was found, as the space has few points. Points of trials that still run count as poor ones, so
    that the next trial lies elsewhere ("constant liar").
    """
    for attempt in range(_MAX_DRAWS):
        point = _drawn(spaces, told, derived_seed(seed, "search", len(tried), attempt), allowed)
        if point not in tried:
            return point
    return None


def _drawn(spaces: Sequence[RecipeSpace], told: Sequence[Told], seed: int, allowed: Collection[RecipeName]) -> Point:
    import optuna  # noqa: PLC0415  0.7 seconds to import, and searches alone need it

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Each dimension by itself: those of a recipe exist in its own trials alone.
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=_NUM_RANDOM, multivariate=False, constant_liar=True, seed=seed % 2**32
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([_replayed(each, spaces) for each in told])
    trial = study.ask()
    names = [str(space.name) for space in spaces if space.name in allowed]
    # With all names the estimator chooses by all trials; of a part of them it knows nothing, and it is seldom asked to.
    chosen = trial.suggest_categorical(_RECIPE if len(names) == len(spaces) else f"{_RECIPE} of {names}", names)
    space = next(space for space in spaces if space.name == chosen)
    return Point(
        space.name, {key: _suggested(trial, _name(space, key), each) for key, each in space.dimensions.items()}
    )


def _suggested(trial: Trial, name: str, dimension: Range | Choices) -> Value:
    if isinstance(dimension, Choices):
        value: Value = trial.suggest_categorical(name, dimension.values)  # type: ignore[assignment]  # one of these
        return value
    if dimension.is_whole:
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.is_logarithmic)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.is_logarithmic)


def _replayed(told: Told, spaces: Sequence[RecipeSpace]) -> FrozenTrial:
    from optuna.distributions import CategoricalDistribution  # noqa: PLC0415
    from optuna.trial import TrialState, create_trial  # noqa: PLC0415

    space = next(space for space in spaces if space.name == told.point.name)
    names = CategoricalDistribution([str(each.name) for each in spaces])
    params = {_name(space, key): value for key, value in told.point.values.items()}
    return create_trial(
        params={_RECIPE: str(space.name), **params},
        distributions={_RECIPE: names, **_distributions(space)},
        value=told.metric,
        state=TrialState.RUNNING if told.metric is None else TrialState.COMPLETE,
    )


def _distributions(space: RecipeSpace) -> dict[str, BaseDistribution]:
    return {_name(space, key): _distribution(each) for key, each in space.dimensions.items()}


def _name(space: RecipeSpace, key: str) -> str:
    """Return the name of a dimension; equal names in other recipes are other dimensions."""
    return f"{space.name}.{key}"


def _distribution(dimension: Range | Choices) -> BaseDistribution:
    from optuna.distributions import (  # noqa: PLC0415
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.is_whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.is_logarithmic)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.is_logarithmic)
