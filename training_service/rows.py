"""What a step trains on: rows of a dataset as model inputs, from pixels or from cached activations."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from model_store.inputs import ImageInputSpec, Pixels, normalise
from training_service.features import Activations
from training_service.pixels import Positions
from training_service.recipes import Augmentation

_MIN_AREA, _MAX_LOG_ASPECT = 0.35, math.log(4 / 3)


class Rows(Protocol):
    """Rows of a dataset as inputs of what trains."""

    def plain(self, positions: Positions) -> Tensor:
        """Return these rows as they are served: float32 [n, …]."""

    def augmented(self, positions: Positions, generator: torch.Generator) -> Tensor:
        """Return these rows for training, varied by the generator alone."""


class PixelRows:
    """Rows from decoded pixels."""

    def __init__(self, pixels: Pixels, spec: ImageInputSpec, augmentation: Augmentation, device: torch.device) -> None:
        self._pixels = pixels
        self._spec = spec
        self._augmentation = augmentation
        self._device = device

    def plain(self, positions: Positions) -> Tensor:
        """Return float32 [n, 3, size, size], normalised."""
        return normalise(self._read(positions), self._spec)

    def augmented(self, positions: Positions, generator: torch.Generator) -> Tensor:
        """Return float32 [n, 3, size, size]: crops of random place, area and shape, and mirror images, as asked."""
        rows = self._read(positions)
        if self._augmentation is not Augmentation.NONE:
            rows = _mirror(rows, generator)
        inputs = normalise(rows, self._spec)
        return _crop(inputs, generator) if self._augmentation is Augmentation.CROP_AND_MIRROR else inputs

    def _read(self, positions: Positions) -> Tensor:
        return torch.from_numpy(self._pixels[positions]).to(self._device)


class ActivationRows:
    """Rows from the output of frozen stages, for images and, where there are some, their mirror images."""

    def __init__(self, plain: Activations, mirrored: Activations | None, device: torch.device) -> None:
        self._plain = plain
        self._mirrored = mirrored
        self._device = device

    def plain(self, positions: Positions) -> Tensor:
        """Return float32 [n, …]."""
        return torch.from_numpy(self._plain[positions]).to(self._device)

    def augmented(self, positions: Positions, generator: torch.Generator) -> Tensor:
        """Return float32 [n, …], half of them of mirror images."""
        if self._mirrored is None:
            return self.plain(positions)
        flips = _coins(len(positions), generator).numpy()
        rows = self._plain[positions]
        rows[flips] = self._mirrored[positions[flips]]
        return torch.from_numpy(rows).to(self._device)


def _mirror(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the rows [n, h, w, 3] left to right."""
    flips = _coins(len(rows), generator).to(rows.device)
    return torch.where(flips.view(-1, 1, 1, 1), rows.flip(2), rows)


def _crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a random rectangle out of each image [n, c, h, w] and stretch it to the full size, bilinearly.

    The rectangle has 35 % to 100 % of the area and 3:4 to 4:3 of the image's own shape.
    """
    area = torch.empty(len(images)).uniform_(_MIN_AREA, 1, generator=generator)
    aspect = torch.empty(len(images)).uniform_(-_MAX_LOG_ASPECT, _MAX_LOG_ASPECT, generator=generator).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    across, down = (torch.empty(len(images)).uniform_(-1, 1, generator=generator) for _ in range(2))
    zero = torch.zeros(len(images))
    left_right = torch.stack([width, zero, across * (1 - width)], dim=1)
    up_down = torch.stack([zero, height, down * (1 - height)], dim=1)
    transforms = torch.stack([left_right, up_down], dim=1).to(images.device)
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False, padding_mode="reflection")


def _coins(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < 0.5
