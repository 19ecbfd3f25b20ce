"""Augmentation varies whole batches by one generator, and gives what the network is used to: rows of one range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model_store.modalities.image.spec import ImageInputSpec, normalise
from training_service.modalities.image.augment import augmented_pixels, viewed_pixels
from training_service.modalities.views import PLAIN, View, further_views
from training_service.recipes.recipe import DEFAULTS, Augmentation, RecipeName

SPEC = ImageInputSpec(resize_size=40, crop_size=32)
ROWS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8))
VARIED = [each for each in Augmentation if each is not Augmentation.NONE]


def vary(kind: Augmentation, seed: int = 0, rows: torch.Tensor = ROWS) -> torch.Tensor:
    """Return the rows, varied by one seed."""
    return augmented_pixels(rows, SPEC, kind, torch.Generator().manual_seed(seed))


def test_none_is_what_is_served() -> None:
    """Bit by bit."""
    assert torch.equal(vary(Augmentation.NONE), normalise(ROWS, SPEC))


@pytest.mark.parametrize("kind", VARIED)
def test_it_follows_its_generator(kind: Augmentation) -> None:
    """The same seed gives the same batch, another one another; the pixels that came in stay as they were."""
    before = ROWS.clone()
    assert torch.equal(vary(kind, 1), vary(kind, 1))
    assert not torch.equal(vary(kind, 1), vary(kind, 2))
    assert not torch.equal(vary(kind, 1), normalise(ROWS, SPEC))
    assert torch.equal(ROWS, before)


@pytest.mark.parametrize("kind", VARIED)
def test_shape_range_and_layout_stay(kind: Augmentation) -> None:
    """Nothing is blacker than black or whiter than white, and convolutions get the layout that they prefer."""
    found = vary(kind)
    black, white = (normalise(torch.full_like(ROWS[:1], each), SPEC) for each in (0, 255))
    assert (found.shape, found.dtype) == ((64, 3, 32, 32), torch.float32)
    assert (found >= black - 1e-5).all()
    assert (found <= white + 1e-5).all()


def test_half_are_mirrored() -> None:
    """Each image is itself or its mirror image."""
    plain = normalise(ROWS, SPEC)
    found = vary(Augmentation.MIRROR)
    mirrored = torch.tensor([torch.equal(one, other.flip(2)) for one, other in zip(found, plain, strict=True)])
    same = torch.tensor([torch.equal(one, other) for one, other in zip(found, plain, strict=True)])
    assert (mirrored ^ same).all()
    assert 20 < mirrored.sum() < 44


def test_crops_show_a_part_of_the_image() -> None:
    """Of a ramp from left to right, the crop is a ramp too, no steeper, its ends within."""
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).view(1, 1, 32, 1).expand(64, 32, 32, 3).contiguous()
    rows = vary(Augmentation.CROP_AND_MIRROR, rows=ramp) * 0.229 * 255  # of red; the mean only shifts it
    spans = (rows[:, 0, 16, -1] - rows[:, 0, 16, 0]).abs()
    assert (spans <= 249).all()
    assert (spans >= 248 * 0.35 * 0.8).all()
    assert spans.unique().numel() > 30


def test_strong_varies_colours_and_erases() -> None:
    """Of a flat picture, brightness alone is left to vary; one in four has a rectangle of the mean colour."""
    grey = torch.full_like(ROWS, 60)
    found = vary(Augmentation.STRONG, rows=grey)
    erased = torch.tensor([bool((image == 0).all(dim=0).any()) for image in found])
    assert 6 < erased.sum() < 28
    assert found[~erased][:, 0, 16, 16].unique().numel() > 20
    shares = (found[erased] == 0).all(dim=1).float().mean((1, 2))
    assert (shares > 0.01).all()
    assert (shares < 0.25).all()


def test_views_stay_the_same() -> None:
    """They are named by recipe, seed and number: a cache finds them again, and takes none for another."""
    recipe = replace(DEFAULTS[RecipeName.LAST_STAGES], augmentation=Augmentation.CROP_AND_MIRROR, view_count=3)
    views, others = further_views(recipe, 7), further_views(recipe, 8)
    assert len({view.name for view in (*views, *others, PLAIN)}) == 7
    found = [viewed_pixels(ROWS, SPEC, view, 0) for view in views]
    assert all(torch.equal(one, viewed_pixels(ROWS, SPEC, view, 0)) for one, view in zip(found, views, strict=True))
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], viewed_pixels(ROWS, SPEC, views[0], 64))


def test_mirror_images_are_one_view() -> None:
    """All of them flipped, whatever the seed; without augmentation there is none."""
    (view,) = further_views(DEFAULTS[RecipeName.LAST_STAGES], 7)
    assert view == View(Augmentation.MIRROR)
    assert torch.equal(viewed_pixels(ROWS, SPEC, view, 3), normalise(ROWS, SPEC).flip(3))
    assert torch.equal(viewed_pixels(ROWS, SPEC, PLAIN, 3), normalise(ROWS, SPEC))
    assert further_views(replace(DEFAULTS[RecipeName.LAST_STAGES], augmentation=Augmentation.NONE), 7) == []
