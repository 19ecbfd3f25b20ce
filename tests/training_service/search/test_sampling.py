"""What the next trial tries: within the space, the same for the same results, and better the more is known."""

from __future__ import annotations

import math

import pytest

from training_service.recipes.recipe import RecipeName
from training_service.search.sampling import Point, Told, suggest
from training_service.search.space import Choices, Range, RecipeSpace

RATES = RecipeSpace(RecipeName.FULL, {}, {"learning_rate": Range(1e-6, 1.0, is_logarithmic=True)}, {})
STAGES = RecipeSpace(
    RecipeName.LAST_STAGES,
    {},
    {"stage_count": Range(1, 3, is_whole=True), "augmentation": Choices(("none", "mirror"))},
    {},
)


def searched(num_trials: int, seed: int) -> list[Told]:
    """Search learning rates of which 1e-2 is the best one."""
    told: list[Told] = []
    for _ in range(num_trials):
        point = suggest([RATES], told, [each.point for each in told], seed, {RecipeName.FULL})
        assert point is not None
        told.append(Told(point, -abs(math.log10(point.values["learning_rate"]) + 2)))
    return told


def test_the_same_results_lead_to_the_same_point() -> None:
    """A search that goes on after a crash goes on as it would have."""
    assert searched(6, seed=1) == searched(6, seed=1)
    assert searched(2, seed=1) != searched(2, seed=2)


def test_later_trials_lie_nearer_to_the_best_place() -> None:
    """Mean distance in powers of ten; of random points it is 1.7."""
    distances = [-each.metric for seed in range(3) for each in searched(16, seed)[8:] if each.metric is not None]
    assert sum(distances) / len(distances) < 1.3


def test_no_point_is_tried_twice() -> None:
    """Two numbers of stages and two words: after all six points there is none, and running ones count."""
    tried: list[Point] = []
    while (point := suggest([STAGES], [Told(each, None) for each in tried], tried, 0, {STAGES.name})) is not None:
        tried.append(point)
    assert 4 <= len(tried) <= 6
    assert len({tuple(each.values.items()) for each in tried}) == len(tried)


@pytest.mark.parametrize("allowed", [RATES, STAGES])
def test_a_recipe_that_takes_too_long_is_left_out(allowed: RecipeSpace) -> None:
    """Only the recipes that are allowed are drawn, whatever was tried before."""
    told = [Told(Point(RecipeName.FULL, {"learning_rate": 0.1}), 0.9)]
    for seed in range(5):
        point = suggest([RATES, STAGES], told, [each.point for each in told], seed, {allowed.name})
        assert point is not None
        assert point.name is allowed.name
        assert all(point.values[key] in each for key, each in allowed.dimensions.items())
