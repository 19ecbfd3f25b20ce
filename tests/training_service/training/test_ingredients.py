"""What a recipe asks for is what the trainer does: each ingredient on a tiny network over rows of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model_store.architectures import HEAD, Chain, Head, build_random
from model_store.modalities import Rows, X
from training_service.recipes.recipe import (
    Augmentation,
    ClassWeights,
    HeadStart,
    Keep,
    Optimizer,
    Recipe,
    RecipeName,
    Schedule,
)
from training_service.tasks.classification import CLASSIFICATION
from training_service.training.progress import Figures
from training_service.training.rows import ActivationRows
from training_service.training.trainer import Trainer, TrainingData

CPU = torch.device("cpu")
STAGES = ("layer1", "layer2", "layer3")
NUM_TRAIN, NUM_ROWS = 48, 72
PLAIN = Recipe(
    RecipeName.FULL,
    epoch_count=4,
    batch_size=8,
    learning_rate=0.05,
    optimizer=Optimizer.SGD,
    schedule=Schedule.CONSTANT,
)
EVERYTHING = replace(
    PLAIN,
    name=RecipeName.GRADUAL,
    optimizer=Optimizer.ADAMW,
    learning_rate=0.01,
    schedule=Schedule.ONE_CYCLE,
    warmup_fraction=0.3,
    augmentation=Augmentation.MIRROR,
    epochs_per_stage=1,
    backbone_learning_rate_factor=0.5,
    stage_learning_rate_factor=0.5,
    label_smoothing=0.1,
    mixup_alpha=0.4,
    class_weights=ClassWeights.BALANCED,
    max_gradient_norm=0.1,
    batches_per_step=2,
    average_decay=0.9,
    keep=Keep.BEST,
    patience=3,
)


def rows(seed: int = 0, labels: np.ndarray | None = None, distance: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of numbers, noisy around a centre for each label."""
    random = np.random.default_rng(seed)
    labels = np.arange(NUM_ROWS) % 3 if labels is None else labels
    centres = np.random.default_rng(99).normal(size=(3, 6))
    return (distance * centres[labels] + random.normal(size=(len(labels), 6))).astype(np.float32), labels


def kept(features: np.ndarray) -> Rows:
    """Return features as frozen stages leave them."""
    return Rows({X: features}, len(features))


def trainer(recipe: Recipe, seed: int = 0, data: TrainingData | None = None) -> Trainer:
    """Return a trainer of a network of three stages and a head, which has neither BatchNorm nor dropout."""
    features, labels = rows()
    views = [features[:, ::-1].copy()] if recipe.augmentation is Augmentation.MIRROR else []
    made = ActivationRows(kept(features), [kept(view) for view in views])
    own = TrainingData(CLASSIFICATION, made, labels, np.arange(NUM_TRAIN), np.arange(NUM_TRAIN, NUM_ROWS))
    return Trainer(network(), data or own, recipe, seed, CPU)


class Told:
    """What a trainer told last; `on_epoch` gets the figures of each epoch's end."""

    def __init__(self, on_epoch: Callable[[Figures], object] = lambda _: None) -> None:
        self.last = Figures()
        self._on_epoch = on_epoch

    def __call__(self, figures: Callable[[], Figures], *, is_milestone: bool) -> None:
        """Take note of a step."""
        self.last = figures()
        if is_milestone:
            self._on_epoch(self.last)


def network() -> Chain:
    """Return the network, untrained."""
    return build_random("mlp", {"widths": [6, 16, 16, 16]}, Head("linear", 3), 0)


def weights(made: Trainer) -> dict[str, Tensor]:
    """Return a copy of all weights."""
    return {name: tensor.clone() for name, tensor in made._chain.state_dict().items()}


def changed_stages(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the stages with a weight that differs."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def trained(recipe: Recipe, seed: int = 0) -> dict[str, Tensor]:
    """Return the weights after the whole of a recipe."""
    made = trainer(recipe, seed)
    made.train(Told(), lambda: None)
    return weights(made)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Say whether all weights are bit-equal."""
    return all(torch.equal(one[name], other[name]) for name in one)


def test_accumulated_batches_are_one_large_batch() -> None:
    """Four of 4 rows make the step of one of 16, but for rounding; the epoch has as many steps."""
    small = trainer(replace(PLAIN, batch_size=4, batches_per_step=4))
    large = trainer(replace(PLAIN, batch_size=16))
    assert small.steps_per_epoch == large.steps_per_epoch == 3
    for _ in range(7):
        assert small.train_step().item() == pytest.approx(large.train_step().item(), rel=1e-5)
    for name, tensor in weights(large).items():
        torch.testing.assert_close(weights(small)[name], tensor)


def test_a_remainder_counts_its_rows() -> None:
    """The last step of an epoch has 8 of 20 rows, in batches that are even: each row counts alike in its step."""
    made = replace(PLAIN, batch_size=5, batches_per_step=4)
    small, large = trainer(made), trainer(replace(PLAIN, batch_size=20))
    assert small.steps_per_epoch == 3
    for _ in range(3):
        assert small.train_step().item() == pytest.approx(large.train_step().item(), rel=1e-5)


@pytest.mark.parametrize("most", [1e-3, 1e3])
def test_gradients_are_clipped(most: float) -> None:
    """A step of SGD without momentum is no longer than rate x norm, and otherwise what it was."""
    clipped, free = (
        trainer(replace(PLAIN, momentum=0.0, max_gradient_norm=norm, learning_rate=0.1)) for norm in (most, 0.0)
    )
    before = weights(clipped)
    for made in (clipped, free):
        made.train_step()
    length = sum(float((weights(clipped)[name] - before[name]).square().sum()) for name in before) ** 0.5
    if most < 1:
        assert length == pytest.approx(0.1 * most, rel=1e-2)
    else:
        assert same(weights(clipped), weights(free))


@pytest.mark.parametrize("optimizer", Optimizer)
def test_stages_further_down_learn_less(optimizer: Optimizer) -> None:
    """Each at its share of the rate of the one above."""
    recipe = replace(PLAIN, optimizer=optimizer, backbone_learning_rate_factor=0.5, stage_learning_rate_factor=0.1)
    made = trainer(recipe)
    made.train_step()
    found = [group["lr"] for group in made._optimizer.param_groups]
    assert found == pytest.approx([0.05 * share for share in (0.005, 0.05, 0.5, 1)])


def test_balanced_weights_find_the_rare_label() -> None:
    """One row in twenty: unweighted, most of them are taken for the common label."""
    labels = (np.arange(600) % 20 == 0).astype(np.int64)
    features, _ = rows(labels=labels, distance=0.7)
    data = TrainingData(CLASSIFICATION, ActivationRows(kept(features), []), labels, np.arange(400), np.arange(400, 600))
    recalls = {}
    for kind in ClassWeights:
        made = trainer(replace(PLAIN, epoch_count=3, class_weights=kind), data=data)
        made.train(Told(), lambda: None)
        rare = np.flatnonzero(labels[400:]) + 400
        recalls[kind] = float((made.outputs(rare).argmax(axis=1) == 1).mean())
    assert recalls[ClassWeights.BALANCED] > recalls[ClassWeights.NONE] + 0.2


def test_the_average_is_what_is_judged_and_kept() -> None:
    """At a rate that throws the weights about: the version is their average over the steps, worked out here."""
    recipe = replace(PLAIN, learning_rate=0.5, average_decay=0.8, epoch_count=2, keep=Keep.LAST)
    made = trainer(recipe)
    expected, told = weights(made), Told()
    for step in range(made.num_steps):
        made.train_step()
        share = 1 - min(0.8, (1 + step) / (10 + step))
        expected = {name: old + share * (weights(made)[name] - old) for name, old in expected.items()}
    last = weights(made)
    again = trainer(recipe)
    again.train(told, lambda: None)
    for name, tensor in weights(again).items():
        torch.testing.assert_close(tensor, expected[name])
    assert not same(weights(again), last)
    validation = again._data.validation
    kept = float((again.outputs(validation).argmax(1) == again._data.targets[validation]).mean())
    assert told.last.validation_metric == kept


def test_training_stops_out_of_patience() -> None:
    """Two epochs after the best one, whose weights are kept; without patience it goes on."""
    ruinous = replace(PLAIN, learning_rate=20.0, epoch_count=30, keep=Keep.BEST)
    told = Told()
    patient = trainer(replace(ruinous, patience=2))
    before = weights(patient)
    patient.train(told, lambda: None)
    assert (told.last.epoch, patient.step) == (2, 2 * patient.steps_per_epoch)
    assert same(weights(patient), before)
    assert patient.kept_epoch == 0
    endless = trainer(ruinous)
    endless.train(Told(), lambda: None)
    assert endless.step == endless.num_steps


@pytest.mark.parametrize("keep", Keep)
def test_the_kept_epoch_is_told(keep: Keep) -> None:
    """The one whose weights the chain ends with."""
    made, ends = trainer(replace(PLAIN, learning_rate=0.5, epoch_count=6, keep=keep)), []
    made.train(Told(lambda figures: ends.append((figures.validation_loss, weights(made)))), lambda: None)
    best = min(range(6), key=lambda epoch: ends[epoch][0]) + 1
    assert made.kept_epoch == (best if keep is Keep.BEST else 6)
    assert same(weights(made), ends[made.kept_epoch - 1][1])


def test_gradual_unfreezes_downwards() -> None:
    """The head alone in the first epoch, then one stage more in each; those below keep every bit until then."""
    made = trainer(replace(PLAIN, epoch_count=5, epochs_per_stage=1, average_decay=0.5))
    changed = []
    for _ in range(5):
        before = weights(made)
        for _ in range(made.steps_per_epoch):
            made.train_step()
        changed.append(changed_stages(before, weights(made)))
    down = [{HEAD}, {HEAD, "layer3"}, {HEAD, "layer3", "layer2"}, {HEAD, *STAGES}, {HEAD, *STAGES}]
    assert changed == down


def test_a_recipe_that_stops_on_its_way_down_leaves_the_rest() -> None:
    """Its weights are the base's, bit by bit: so are their digests. A checkpoint has no need of them either."""
    made = trainer(replace(PLAIN, epoch_count=2, epochs_per_stage=1, keep=Keep.BEST, average_decay=0.9))
    before = weights(made)
    made.train(Told(), lambda: None)
    assert changed_stages(before, weights(made)) <= {HEAD, "layer3"}
    saved = made.state_dict()
    for part in ("weights", "average", "optimizer", "best_weights"):
        assert {name.split(".")[0] for name in saved[part]} == {HEAD, "layer3"}


@pytest.mark.parametrize("field", ["mixup_alpha", "label_smoothing", "average_decay", "max_gradient_norm"])
def test_every_ingredient_changes_what_comes_out(field: str) -> None:
    """Leaving one out gives other weights: none of them is silently passed over."""
    without = Recipe.from_json({**EVERYTHING.to_json(), field: 0})
    assert not same(trained(EVERYTHING), trained(without))
    assert same(trained(EVERYTHING), trained(EVERYTHING))
    assert not same(trained(EVERYTHING), trained(EVERYTHING, seed=1))


def test_the_head_start_is_not_part_of_it() -> None:
    """The trainer takes the head as it comes."""
    assert same(trained(PLAIN), trained(replace(PLAIN, head_start=HeadStart.LINEAR_PROBE)))


@pytest.mark.parametrize("view_count", [0, 1, 3])
def test_every_view_is_as_likely_as_the_plain_one(view_count: int) -> None:
    """Rows keep their places, and the generator alone decides."""
    plain = np.repeat(np.arange(1000, dtype=np.float32)[:, None], 4, axis=1)
    made = ActivationRows(kept(plain), [kept(plain + 1000 * number) for number in range(1, view_count + 1)])
    positions = np.arange(999, -1, -1)
    found, again = (made.read(positions, torch.Generator().manual_seed(5)).x for _ in range(2))
    assert torch.equal(found, again)
    assert (found[:, 0] % 1000 == torch.from_numpy(positions)).all()
    counts = torch.bincount((found[:, 0] // 1000).long(), minlength=view_count + 1)
    assert (counts - 1000 / (view_count + 1)).abs().max() < 80
