"""Mixes rows of a batch with one another by torchvision: MixUp (arXiv:1710.09412) and CutMix (arXiv:1905.04899)."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from training_service.recipes.recipe import Recipe


def mixed(inputs: Tensor, targets: Tensor, num_outputs: int, recipe: Recipe, seed: int) -> tuple[Tensor, Tensor]:
    """Mix each row with the one before it, as the recipe asks; where it asks for both ways, each has half of the seeds.

    Targets are labels [n], which become shares [n, outputs], or numbers [n, outputs], which are mixed. CutMix needs
    inputs with a height and a width, and leaves others alone. Equal seeds mix alike; the caller's random state stays.
    """
    alphas = {"CutMix": recipe.cutmix_alpha if inputs.ndim == 4 else 0.0, "MixUp": recipe.mixup_alpha}
    ways = [_way(name, alpha, num_outputs) for name, alpha in alphas.items() if alpha > 0]
    if not ways:
        return inputs, targets
    maps = inputs if inputs.ndim == 4 else inputs.reshape(len(inputs), -1, 1, 1)  # torchvision takes feature maps alone
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        way = ways[int(torch.randint(len(ways), ()))]
        maps, targets = way(maps, targets)
    return maps.reshape(inputs.shape), targets


def _way(name: str, alpha: float, num_outputs: int) -> Any:  # noqa: ANN401  torchvision carries no types
    # Late: both take a second, for few recipes.
    from model_store.architectures.torchvision_compat import torchvision  # noqa: PLC0415

    transforms = importlib.import_module(f"{torchvision.__name__}.transforms.v2")
    return getattr(transforms, name)(alpha=alpha, num_classes=num_outputs)
