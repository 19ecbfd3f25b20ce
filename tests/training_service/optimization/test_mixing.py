"""Mixing rows of a batch: each with the one before it, by shares that the labels follow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from training_service.optimization.mixing import MixedTargets, cutmix, mixed, mixup
from training_service.recipes.recipe import DEFAULTS, RecipeName

IMAGES = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 8, 10).contiguous()  # every pixel says which image it is of
LABELS = torch.arange(5)
PLAIN = DEFAULTS[RecipeName.FULL]
MIXUP, CUTMIX = replace(PLAIN, mixup_alpha=0.4), replace(PLAIN, cutmix_alpha=1.0)
BOTH = replace(PLAIN, mixup_alpha=0.4, cutmix_alpha=1.0)


def mix(recipe: object, seed: int = 0, inputs: Tensor = IMAGES) -> tuple[Tensor, MixedTargets]:
    """Mix the images by one seed."""
    return mixed(inputs, LABELS, recipe, np.random.default_rng(seed))  # type: ignore[arg-type]


def test_nothing_is_mixed_unasked() -> None:
    """Rows and labels are the ones that came."""
    inputs, targets = mix(PLAIN)
    assert inputs is IMAGES
    assert targets.share == 1


@pytest.mark.parametrize("recipe", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_mixing_follows_its_seed(recipe: object) -> None:
    """The same seed gives the same batch; others give others; what came in stays as it was."""
    before = IMAGES.clone()
    (first, targets), (again, same), (other, _) = mix(recipe, 1), mix(recipe, 1), mix(recipe, 2)
    assert torch.equal(first, again)
    assert targets.share == same.share
    assert not torch.equal(first, other)
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("recipe", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
@pytest.mark.parametrize("seed", range(6))
def test_labels_follow_what_is_in_the_image(recipe: object, seed: int) -> None:
    """The mean of an image is its own number and that of the one before it, by their shares."""
    inputs, targets = mix(recipe, seed)
    assert 0 <= targets.share <= 1
    assert torch.equal(targets.targets, LABELS)
    assert torch.equal(targets.others, LABELS.roll(1, 0))
    expected = targets.share * targets.targets + (1 - targets.share) * targets.others
    torch.testing.assert_close(inputs.mean((1, 2, 3)), expected.float())


def test_both_ways_take_turns() -> None:
    """A pixel of CutMix is of one image, a pixel of mixup of two."""
    whole = [torch.equal(inputs, inputs.round()) for inputs, _ in (mix(BOTH, seed) for seed in range(20))]
    assert 3 < sum(whole) < 17


def test_cutmix_pastes_one_rectangle() -> None:
    """The same in every image, of about the share asked for."""
    images, share = cutmix(IMAGES, 0.75, np.random.default_rng(3))
    pasted = images != IMAGES
    assert (pasted == pasted[0]).all()
    down, across = pasted[0, 0].any(1), pasted[0, 0].any(0)
    assert (pasted[0, 0] == down[:, None] & across).all()
    assert 1 - share == pytest.approx(float(pasted.float().mean()))
    assert 0.75 <= share < 1


def test_rows_without_a_height_are_left_alone_by_cutmix() -> None:
    """Features have none; mixup mixes them."""
    features = IMAGES[:, :, 0, 0]
    assert torch.equal(mix(CUTMIX, inputs=features)[0], features)
    torch.testing.assert_close(mixup(features, 0.25)[1], 0.25 * features[1] + 0.75 * features[0])
