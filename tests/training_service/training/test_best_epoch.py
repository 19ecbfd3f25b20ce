"""The best epoch: the lowest validation loss so far, its weights, and patience with those that are not."""

from __future__ import annotations

import math

import pytest
import torch

from training_service.training.best_epoch import BestEpoch


def after(*losses: float, patience: int = 0, keeps_weights: bool = True) -> BestEpoch:
    """Return what is known after epochs of these losses; the weights of each are its number."""
    best = BestEpoch(keeps_weights=keeps_weights, patience=patience)
    for number, loss in enumerate(losses):
        best.take(loss, lambda number=number: {"w": torch.tensor(number)})  # type: ignore[misc]
    return best


@pytest.mark.parametrize(
    ("losses", "best"), [((3, 2, 4), 1), ((1, 2, 3), 0), ((3, 2, 2), 1), ((math.nan, 2, math.nan), 1), ((math.nan,), 0)]
)
def test_the_first_of_the_lowest_is_kept(losses: tuple[float, ...], best: int) -> None:
    """A loss that is no number is better than none at all, and than nothing else."""
    assert after(*losses).weights["w"] == best


def test_no_weights_are_kept_unasked() -> None:
    """They cost memory."""
    assert after(3, 2, keeps_weights=False).weights == {}


@pytest.mark.parametrize(
    ("losses", "is_out"), [((3, 4), False), ((3, 4, 3), True), ((3, 4, 2, 3), False), ((3, math.nan, math.nan), True)]
)
def test_patience_counts_epochs_in_a_row(losses: tuple[float, ...], is_out: bool) -> None:  # noqa: FBT001
    """Two without a lower loss, of which a better one forgives all."""
    assert after(*losses, patience=2).is_out_of_patience is is_out
    assert not after(*losses, *losses, patience=0).is_out_of_patience


@pytest.mark.parametrize("losses", [(), (math.nan,), (3.0, 4.0)])
def test_a_saved_state_goes_on(losses: tuple[float, ...]) -> None:
    """As JSON knows it: without infinities."""
    first, second = after(*losses, patience=2), BestEpoch(keeps_weights=True, patience=2)
    second.load_state_dict(first.state_dict(), first.weights)
    for each in (first, second):
        each.take(3.5, lambda: {"w": torch.tensor(9)})
    assert first.state_dict() == second.state_dict()
    assert first.is_out_of_patience is second.is_out_of_patience
    assert first.weights == second.weights
