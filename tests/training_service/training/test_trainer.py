"""The loop: the same seed gives the same losses, a saved state goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model_store.architectures import HEAD, Head, build_random, initialise_head
from model_store.modalities import Rows
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import to_pixels
from tests.training_service.making import COLOURS, SPEC, picture
from training_service.modalities import MODALITIES
from training_service.recipes.recipe import DEFAULTS, HeadStart, Keep, Recipe, RecipeName
from training_service.tasks.classification import CLASSIFICATION
from training_service.training.progress import Figures
from training_service.training.rows import DatasetRows
from training_service.training.trainer import Trainer, TrainingData

ARCHITECTURE = "mobilenet_v3_small"  # it has BatchNorm and dropout
CPU = torch.device("cpu")
LABELS = np.arange(18) % 3
PIXELS = np.stack(
    [
        to_pixels(decode_image(picture(list(COLOURS)[label], seed), max_pixels=10**6), SPEC)
        for seed, label in enumerate(LABELS)
    ]
)
FULL = replace(DEFAULTS[RecipeName.FULL], epoch_count=2, batch_size=4, head_start=HeadStart.RANDOM)


def trainer(recipe: Recipe = FULL, seed: int = 0, frozen: Sequence[str] = (), num_train: int = 12) -> Trainer:
    """Return a trainer of a small network on small pictures."""
    chain = build_random(ARCHITECTURE, {}, Head("linear", 3), 0)
    initialise_head(chain, seed)
    rows = DatasetRows(Rows({"pixels": PIXELS}, len(PIXELS)), MODALITIES["image"], SPEC, recipe.augmentation)
    data = TrainingData(CLASSIFICATION, rows, LABELS, np.arange(num_train), np.arange(12, 18))
    return Trainer(chain.freeze(frozen), data, recipe, seed, CPU)


def losses(made: Trainer, num_steps: int | None = None) -> list[float]:
    """Take steps and return their losses."""
    found = []
    while made.should_continue() and (num_steps is None or len(found) < num_steps):
        made.train_step()
        found.append(made.state_dict()["losses"][-1])
    return found


def weights(made: Trainer) -> dict[str, Tensor]:
    """Return a copy of all weights."""
    return {key: tensor.clone() for key, tensor in made._chain.state_dict().items()}


def test_a_seed_names_a_run() -> None:
    """Shuffling, augmentation and dropout all follow from it."""
    first = losses(trainer(seed=1))
    torch.manual_seed(12345)
    assert losses(trainer(seed=1)) == first
    assert losses(trainer(seed=2)) != first


def test_a_loaded_state_goes_on_bit_by_bit() -> None:
    """A run in two halves ends with the weights of a run in one."""
    whole, half = trainer(), trainer()
    expected = losses(whole)
    found = losses(half, 3)
    rest = trainer(seed=0)
    rest.load_state_dict(half.state_dict())
    assert found + losses(rest) == expected
    assert all(torch.equal(tensor, weights(rest)[key]) for key, tensor in weights(whole).items())


def test_frozen_stages_do_not_change() -> None:
    """Neither weights nor BatchNorm's statistics, nor are they part of the state."""
    recipe = replace(FULL, freeze_batch_norm=False, learning_rate=0.1, backbone_learning_rate_factor=1.0)
    made = trainer(recipe, frozen=("stem", "layer1"))
    before = weights(made)
    losses(made)
    changed = {key for key, tensor in weights(made).items() if not torch.equal(tensor, before[key])}
    frozen = {key for name in ("stem", "layer1") for key in made._chain.stage_tensors(name)}
    assert not changed & frozen
    assert any("running_mean" in key for key in changed)


def test_frozen_statistics_are_the_base_s() -> None:
    """With `freeze_batch_norm`, weights move and statistics stay."""
    made = trainer()
    before = weights(made)
    losses(made)
    changed = {key for key, tensor in weights(made).items() if not torch.equal(tensor, before[key])}
    assert changed
    assert not any("running" in key for key in changed)


def test_the_backbone_moves_less_than_the_head() -> None:
    """The factor scales its rate."""
    groups = trainer()._optimizer.param_groups
    assert groups[0]["share"] == pytest.approx(groups[-1]["share"] / 30)
    assert len(groups[-1]["params"]) == len(list(trainer()._chain.stage(HEAD).parameters()))


@pytest.mark.parametrize("keep", Keep)
def test_the_kept_epoch_is_the_best_or_the_last(keep: Keep) -> None:
    """A rate that ruins the network costs nothing where the best epoch is kept."""
    made = trainer(replace(FULL, learning_rate=0.5, backbone_learning_rate_factor=1.0, keep=keep))
    before = weights(made)
    seen = list[tuple[Figures, bool]]()

    def on_step(figures: Callable[[], Figures], *, is_milestone: bool) -> None:
        seen.append((figures(), is_milestone))

    made.train(on_step, lambda: None)
    unchanged = all(torch.equal(tensor, weights(made)[key]) for key, tensor in before.items())
    assert unchanged is (keep is Keep.BEST)
    assert [figures.epoch for figures, _ in seen] == [1, 1, 1, 2, 2, 2]
    assert [is_milestone for _, is_milestone in seen] == [False, False, True] * 2
    assert [figures.validation_loss is not None for figures, _ in seen] == [False, False, True] * 2


def test_a_last_batch_of_one_row_is_left_out() -> None:
    """BatchNorm cannot train on it."""
    assert trainer(num_train=9).steps_per_epoch == 2
    assert trainer(num_train=10).steps_per_epoch == 3
    assert trainer(num_train=1).steps_per_epoch == 1


def test_every_row_is_seen_once_an_epoch() -> None:
    """In another order each time."""
    made = trainer()
    seen = [np.concatenate(made._order.parts(step)) for step in range(6)]
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert list(first) != list(second)


def test_it_learns() -> None:
    """A few epochs tell three colours apart, whose discs differ in nothing else."""
    quick = {"learning_rate": 3e-3, "backbone_learning_rate_factor": 1.0, "freeze_batch_norm": False}
    made = trainer(replace(FULL, epoch_count=8, keep=Keep.LAST, **quick))
    found = losses(made)
    assert np.mean(found[-3:]) < 0.6 * np.mean(found[:3])


def test_diverged_training_ends_with_the_epoch() -> None:
    """Weights that are no numbers any more never become numbers again; the best epoch's come back."""
    made = trainer(replace(FULL, epoch_count=5, keep=Keep.BEST))
    before = weights(made)

    def spoil(_: Callable[[], Figures], *, is_milestone: bool) -> None:  # noqa: ARG001  the trainer's signature
        with torch.no_grad():
            next(made._chain.stage(HEAD).parameters()).fill_(torch.nan)

    made.train(spoil, lambda: None)
    assert made.is_diverged
    assert made.step == made.steps_per_epoch
    assert made.kept_epoch == 0
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights(made).items() if "running" not in key)
