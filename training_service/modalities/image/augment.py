"""Varies training images: whole batches at once, by one named generator alone, in the spirit of torchvision's v2."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from model_store.modalities.image.spec import ImageInputSpec, normalise
from training_service.modalities.views import View
from training_service.recipes.recipe import CROPS, Augmentation
from training_service.seeds import generator

_MIN_AREA, _MAX_LOG_ASPECT = 0.35, math.log(4 / 3)
_JITTER = 0.3
_ERASED_SHARE, _MIN_ERASED_AREA, _MAX_ERASED_AREA = 0.25, 0.02, 0.2
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's rgb_to_grayscale has it


def viewed_pixels(rows: Tensor, spec: ImageInputSpec, view: View, position: int) -> Tensor:
    """Turn uint8 rows [n, h, w, 3] from this position on into model inputs, float32 [n, 3, h, w]."""
    if view.augmentation is Augmentation.MIRROR:
        return normalise(rows.flip(2), spec)
    return augmented_pixels(rows, spec, view.augmentation, generator(view.seed, "view", view.number, position))


def augmented_pixels(rows: Tensor, spec: ImageInputSpec, kind: Augmentation, random: torch.Generator) -> Tensor:
    """Turn uint8 rows [n, h, w, 3] into model inputs, float32 [n, 3, h, w], varied as asked.

    `mirror` flips half of them; `crop_and_mirror` also cuts crops of random place, area and shape; `strong` also varies
    brightness, contrast and saturation, and erases a rectangle of one in four.
    """
    if kind is not Augmentation.NONE:
        rows = _mirror(rows, random)
    if kind is Augmentation.STRONG:
        rows = _jitter(rows.float(), random)
    inputs = normalise(rows, spec)
    if kind in CROPS:
        inputs = _crop(inputs, random)
    return _erase(inputs, random) if kind is Augmentation.STRONG else inputs


def coins(count: int, random: torch.Generator, share: float = 0.5) -> Tensor:
    """Return booleans [count], each true with that probability."""
    return torch.rand(count, generator=random) < share


def _mirror(rows: Tensor, random: torch.Generator) -> Tensor:
    """Flip half of the rows [n, h, w, 3] left to right."""
    flips = coins(len(rows), random).to(rows.device)
    return torch.where(flips.view(-1, 1, 1, 1), rows.flip(2), rows)


def _jitter(rows: Tensor, random: torch.Generator) -> Tensor:
    """Vary brightness, contrast and saturation of rows [n, h, w, 3], 0 to 255, each by a factor of 0.7 to 1.3."""
    brightness, contrast, saturation = (
        _uniform(len(rows), 1 - _JITTER, 1 + _JITTER, random).view(-1, 1, 1, 1).to(rows.device) for _ in range(3)
    )
    rows = (rows * brightness).clamp_(0, 255)
    rows = rows.lerp(_grey(rows).mean(dim=(1, 2), keepdim=True), 1 - contrast).clamp_(0, 255)
    return rows.lerp(_grey(rows), 1 - saturation).clamp_(0, 255)


def _grey(rows: Tensor) -> Tensor:
    return (rows @ torch.tensor(_GREY, device=rows.device)).unsqueeze(-1)


def _crop(images: Tensor, random: torch.Generator) -> Tensor:
    """Cut a random rectangle out of each image [n, c, h, w] and stretch it to the full size, bilinearly.

    The rectangle has 35 % to 100 % of the area and 3:4 to 4:3 of the image's own shape.
    """
    area = _uniform(len(images), _MIN_AREA, 1, random)
    aspect = _uniform(len(images), -_MAX_LOG_ASPECT, _MAX_LOG_ASPECT, random).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    across, down = (_uniform(len(images), -1, 1, random) for _ in range(2))
    zero = torch.zeros(len(images))
    left_right = torch.stack([width, zero, across * (1 - width)], dim=1)
    up_down = torch.stack([zero, height, down * (1 - height)], dim=1)
    transforms = torch.stack([left_right, up_down], dim=1).to(images.device)
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False, padding_mode="reflection")


def _erase(images: Tensor, random: torch.Generator) -> Tensor:
    """Replace a rectangle of some images [n, c, h, w] by 0, the mean of the base's training data."""
    count, _, height, width = images.shape
    side = _uniform(count, _MIN_ERASED_AREA, _MAX_ERASED_AREA, random).sqrt()
    down, across = (_uniform(count, 0, 1, random) * (1 - side) for _ in range(2))
    rows, columns = _within(down, side, height), _within(across, side, width)
    erased = coins(count, random, _ERASED_SHARE).view(-1, 1, 1) & rows.unsqueeze(2) & columns.unsqueeze(1)
    return images.masked_fill(erased.unsqueeze(1).to(images.device), 0.0)


def _within(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Say which of `size` places lie in each stretch, given as shares: [n, size]."""
    places = (torch.arange(size) + 0.5) / size
    return (places >= start.unsqueeze(1)) & (places < (start + length).unsqueeze(1))


def _uniform(count: int, least: float, most: float, random: torch.Generator) -> Tensor:
    return torch.empty(count).uniform_(least, most, generator=random)
