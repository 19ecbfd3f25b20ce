"""Mixes rows of a batch with one another: mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from training_service.recipes.recipe import Recipe


@dataclass(frozen=True)
class MixedTargets:
    """Targets [n, …] of a batch, those of the rows that were mixed in, and the share of the first."""

    targets: Tensor
    others: Tensor
    share: float = 1.0


def mixed(inputs: Tensor, targets: Tensor, recipe: Recipe, random: np.random.Generator) -> tuple[Tensor, MixedTargets]:
    """Mix each row with the one before it, as the recipe asks; where it asks for both ways, a coin decides.

    CutMix needs inputs with a height and a width, and leaves others alone.
    """
    use_cutmix = recipe.cutmix_alpha > 0 and inputs.ndim == 4
    if use_cutmix and recipe.mixup_alpha > 0:
        use_cutmix = bool(random.random() < 0.5)
    if use_cutmix:
        inputs, share = cutmix(inputs, float(random.beta(recipe.cutmix_alpha, recipe.cutmix_alpha)), random)
    elif recipe.mixup_alpha > 0:
        share = float(random.beta(recipe.mixup_alpha, recipe.mixup_alpha))
        inputs = mixup(inputs, share)
    else:
        return inputs, MixedTargets(targets, targets)
    return inputs, MixedTargets(targets, targets.roll(1, 0), share)


def mixup(inputs: Tensor, share: float) -> Tensor:
    """Return share * row + (1 - share) * the row before."""
    return share * inputs + (1 - share) * inputs.roll(1, 0)


def cutmix(inputs: Tensor, share: float, random: np.random.Generator) -> tuple[Tensor, float]:
    """Paste about a share of 1 - `share` of the row before into each [n, c, h, w]; return the share that is left."""
    height, width = inputs.shape[2:]
    size = np.sqrt(1 - share)
    top, bottom = _span(height, size, random)
    left, right = _span(width, size, random)
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = inputs.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(length: int, share: float, random: np.random.Generator) -> tuple[int, int]:
    """Return a stretch of about that share around a random place, cut off at the edges."""
    centre, half = int(random.integers(length)), round(share * length / 2)
    return max(centre - half, 0), min(centre + half, length)
