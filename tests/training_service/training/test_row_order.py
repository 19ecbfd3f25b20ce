"""The order of training rows: every row once an epoch, and rows of about one length together."""

from __future__ import annotations

import numpy as np
import pytest

from training_service.recipes.recipe import DEFAULTS, RecipeName
from training_service.training.row_order import RowOrder

RECIPE = DEFAULTS[RecipeName.FULL]
TRAIN = np.arange(1000)[::2]
LENGTHS = np.random.default_rng(0).integers(1, 200, 1000)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_every_row_comes_once_an_epoch(lengths: np.ndarray | None) -> None:
    """Equal seeds give equal orders, and epochs have different ones."""
    order, again = (RowOrder(TRAIN, RECIPE, 3, lengths) for _ in range(2))
    first, second = (
        np.concatenate([np.concatenate(order.parts(epoch * order.steps_per_epoch + step)) for step in range(16)])
        for epoch in range(2)
    )
    assert sorted(first) == sorted(second) == list(TRAIN)
    assert not np.array_equal(first, second)
    for step in (0, 7, 30):
        np.testing.assert_array_equal(np.concatenate(order.parts(step)), np.concatenate(again.parts(step)))


def test_rows_of_a_step_are_about_as_long() -> None:
    """Padding to the longest of a step is a small part, where in any order it is about the half."""

    def padding(order: RowOrder) -> float:
        steps = [LENGTHS[np.concatenate(order.parts(step))] for step in range(order.steps_per_epoch)]
        return float(1 - sum(step.sum() for step in steps) / sum(step.max() * len(step) for step in steps))

    assert padding(RowOrder(TRAIN, RECIPE, 3, LENGTHS)) < 0.15
    assert padding(RowOrder(TRAIN, RECIPE, 3)) > 0.4
