"""Mixing rows of a batch: each with the one before it, by shares that the targets follow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from training_service.optimization.mixing import mixed
from training_service.recipes.recipe import DEFAULTS, Recipe, RecipeName
from training_service.tasks import TRAINING_TASKS

IMAGES = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 8, 10).contiguous()  # every pixel says which image it is of
LABELS = torch.arange(5)
PLAIN = DEFAULTS[RecipeName.FULL]
MIXUP, CUTMIX = replace(PLAIN, mixup_alpha=0.4), replace(PLAIN, cutmix_alpha=1.0)
BOTH = replace(PLAIN, mixup_alpha=0.4, cutmix_alpha=1.0)
OUTPUTS = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))


def mix(recipe: Recipe, seed: int = 0, inputs: Tensor = IMAGES, targets: Tensor = LABELS) -> tuple[Tensor, Tensor]:
    """Mix the images by one seed."""
    return mixed(inputs, targets, 5, recipe, seed)


def test_nothing_is_mixed_unasked() -> None:
    """Rows and labels are the ones that came."""
    inputs, targets = mix(PLAIN)
    assert inputs is IMAGES
    assert targets is LABELS


@pytest.mark.parametrize("recipe", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_mixing_follows_its_seed_alone(recipe: Recipe) -> None:
    """A step that a resumed job does again mixes alike; what came in, and the state of other random numbers, stay."""
    before, state = IMAGES.clone(), torch.get_rng_state()
    (first, targets), (again, same), (other, _) = mix(recipe, 1), mix(recipe, 1), mix(recipe, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert torch.equal(targets, same)
    assert not torch.equal(first, other)
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("recipe", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
@pytest.mark.parametrize("seed", range(6))
def test_labels_follow_what_is_in_the_image(recipe: Recipe, seed: int) -> None:
    """The mean of an image is its own number and that of the one before it, by their shares."""
    inputs, shares = mix(recipe, seed)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(inputs.mean((1, 2, 3)), shares @ torch.arange(5.0))
    own = shares.diagonal()
    torch.testing.assert_close(shares, torch.diag(own) + torch.diag(1 - own).roll(-1, 1))


def test_both_ways_take_turns() -> None:
    """A pixel of CutMix is of one image, a pixel of mixup of two."""
    whole = [torch.equal(inputs, inputs.round()) for inputs, _ in (mix(BOTH, seed) for seed in range(20))]
    assert 3 < sum(whole) < 17


def test_rows_without_a_height_are_mixed_but_not_cut() -> None:
    """Features and rows of numbers have none."""
    features = IMAGES[:, :, 0, 0]
    assert mix(CUTMIX, inputs=features)[0] is features
    found, shares = mix(MIXUP, inputs=features)
    torch.testing.assert_close(found, (shares @ torch.arange(5.0))[:, None].expand(5, 3))
    again, _ = mix(BOTH, inputs=features)
    assert again.shape == features.shape


@pytest.mark.parametrize(("smoothing", "is_balanced"), [(0.0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("kind", ["classification", "multi_label"])
def test_mixed_targets_share_the_loss(kind: str, smoothing: float, is_balanced: bool) -> None:  # noqa: FBT001  a parameter
    """So much of the one target's, the rest of the other's: the loss is linear in what is true."""
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    first = torch.nn.functional.one_hot(labels, 4).float()
    targets = labels if kind == "classification" else first
    loss = TRAINING_TASKS[kind].make_loss(targets.numpy(), 4, smoothing=smoothing, is_balanced=is_balanced)
    expected = 0.3 * loss(OUTPUTS, targets) + 0.7 * loss(OUTPUTS, targets.roll(1, 0))
    torch.testing.assert_close(loss(OUTPUTS, 0.3 * first + 0.7 * first.roll(1, 0)), expected)


def test_mixed_numbers_have_the_gradient_of_both() -> None:
    """A squared error from the mean differs from the mean of both errors by what no output can change."""
    first = torch.rand((6, 4), generator=torch.Generator().manual_seed(1))
    loss = TRAINING_TASKS["regression"].make_loss(first.numpy(), 4, smoothing=0.0, is_balanced=False)
    gradients = []
    for find in (
        lambda outputs: 0.3 * loss(outputs, first) + 0.7 * loss(outputs, first.roll(1, 0)),
        lambda outputs: loss(outputs, 0.3 * first + 0.7 * first.roll(1, 0)),
    ):
        outputs = OUTPUTS.clone().requires_grad_()
        find(outputs).backward()
        gradients.append(outputs.grad)
    torch.testing.assert_close(*gradients)
