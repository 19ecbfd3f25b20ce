"""Varies training images: whole batches at once, by one named generator alone, in the spirit of torchvision's v2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model_store.modalities.image.spec import ImageInputSpec, normalise
from training_service.recipes.recipe import CROPS, Augmentation, Recipe
from training_service.seeds import generator as named_generator

_MIN_AREA, _MAX_LOG_ASPECT = 0.35, math.log(4 / 3)
_JITTER = 0.3
_ERASED_SHARE, _MIN_ERASED_AREA, _MAX_ERASED_AREA = 0.25, 0.02, 0.2
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's rgb_to_grayscale has it


@dataclass(frozen=True)
class View:
    """One way to look at all images, the same in every epoch: as they are served, mirrored, or varied by a seed."""

    augmentation: Augmentation = Augmentation.NONE
    seed: int = 0
    number: int = 0

    @property
    def name(self) -> str:
        """Return what tells it from all others."""
        return f"{self.augmentation}-{self.seed}-{self.number}"

    def inputs(self, rows: Tensor, spec: ImageInputSpec, position: int) -> Tensor:
        """Turn uint8 rows [n, h, w, 3] from this position on into model inputs, float32 [n, 3, h, w]."""
        if self.augmentation is Augmentation.MIRROR:
            return normalise(rows.flip(2), spec)
        return augmented(rows, spec, self.augmentation, named_generator(self.seed, "view", self.number, position))


PLAIN = View()


def further_views(recipe: Recipe, seed: int) -> list[View]:
    """Return the views that frozen stages are run over besides the plain one."""
    if recipe.augmentation is Augmentation.MIRROR:
        return [View(Augmentation.MIRROR)]
    return [View(recipe.augmentation, seed, number) for number in range(recipe.view_count)]


def augmented(rows: Tensor, spec: ImageInputSpec, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """Turn uint8 rows [n, h, w, 3] into model inputs, float32 [n, 3, h, w], varied as asked.

    `mirror` flips half of them; `crop_and_mirror` also cuts crops of random place, area and shape; `strong` also varies
    brightness, contrast and saturation, and erases a rectangle of one in four.
    """
    if kind is not Augmentation.NONE:
        rows = _mirror(rows, generator)
    if kind is Augmentation.STRONG:
        rows = _jitter(rows.float(), generator)
    inputs = normalise(rows, spec)
    if kind in CROPS:
        inputs = _crop(inputs, generator)
    return _erase(inputs, generator) if kind is Augmentation.STRONG else inputs


def coins(count: int, generator: torch.Generator, share: float = 0.5) -> Tensor:
    """Return booleans [count], each true with that probability."""
    return torch.rand(count, generator=generator) < share


def _mirror(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the rows [n, h, w, 3] left to right."""
    flips = coins(len(rows), generator).to(rows.device)
    return torch.where(flips.view(-1, 1, 1, 1), rows.flip(2), rows)


def _jitter(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Vary brightness, contrast and saturation of rows [n, h, w, 3], 0 to 255, each by a factor of 0.7 to 1.3."""
    brightness, contrast, saturation = (
        _uniform(len(rows), 1 - _JITTER, 1 + _JITTER, generator).view(-1, 1, 1, 1).to(rows.device) for _ in range(3)
    )
    rows = (rows * brightness).clamp_(0, 255)
    rows = rows.lerp(_grey(rows).mean(dim=(1, 2), keepdim=True), 1 - contrast).clamp_(0, 255)
    return rows.lerp(_grey(rows), 1 - saturation).clamp_(0, 255)


def _grey(rows: Tensor) -> Tensor:
    return (rows @ torch.tensor(_GREY, device=rows.device)).unsqueeze(-1)


def _crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a random rectangle out of each image [n, c, h, w] and stretch it to the full size, bilinearly.

    The rectangle has 35 % to 100 % of the area and 3:4 to 4:3 of the image's own shape.
    """
    area = _uniform(len(images), _MIN_AREA, 1, generator)
    aspect = _uniform(len(images), -_MAX_LOG_ASPECT, _MAX_LOG_ASPECT, generator).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    across, down = (_uniform(len(images), -1, 1, generator) for _ in range(2))
    zero = torch.zeros(len(images))
    left_right = torch.stack([width, zero, across * (1 - width)], dim=1)
    up_down = torch.stack([zero, height, down * (1 - height)], dim=1)
    transforms = torch.stack([left_right, up_down], dim=1).to(images.device)
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False, padding_mode="reflection")


def _erase(images: Tensor, generator: torch.Generator) -> Tensor:
    """Replace a rectangle of some images [n, c, h, w] by 0, which is the mean of what the base was trained on."""
    count, _, height, width = images.shape
    side = _uniform(count, _MIN_ERASED_AREA, _MAX_ERASED_AREA, generator).sqrt()
    down, across = (_uniform(count, 0, 1, generator) * (1 - side) for _ in range(2))
    rows, columns = _within(down, side, height), _within(across, side, width)
    erased = coins(count, generator, _ERASED_SHARE).view(-1, 1, 1) & rows.unsqueeze(2) & columns.unsqueeze(1)
    return images.masked_fill(erased.unsqueeze(1).to(images.device), 0.0)


def _within(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Say which of `size` places lie in each stretch, given as shares: [n, size]."""
    places = (torch.arange(size) + 0.5) / size
    return (places >= start.unsqueeze(1)) & (places < (start + length).unsqueeze(1))


def _uniform(count: int, least: float, most: float, generator: torch.Generator) -> Tensor:
    return torch.empty(count).uniform_(least, most, generator=generator)
