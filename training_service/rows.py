"""What a step trains on: rows of a dataset as model inputs, from pixels or from cached activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model_store.inputs import ImageInputSpec, Pixels, normalise
from training_service.augment import augmented
from training_service.features import Activations
from training_service.pixels import Positions
from training_service.recipes import Augmentation


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
        """Return float32 [n, 3, size, size], varied as asked."""
        return augmented(self._read(positions), self._spec, self._augmentation, generator)

    def _read(self, positions: Positions) -> Tensor:
        return torch.from_numpy(self._pixels[positions]).to(self._device)


class ActivationRows:
    """Rows from the output of frozen stages: of images as they are served, and of any number of other views."""

    def __init__(self, plain: Activations, views: Sequence[Activations], device: torch.device) -> None:
        self._plain = plain
        self._views = views
        self._device = device

    def plain(self, positions: Positions) -> Tensor:
        """Return float32 [n, …]."""
        return torch.from_numpy(self._plain[positions]).to(self._device)

    def augmented(self, positions: Positions, generator: torch.Generator) -> Tensor:
        """Return float32 [n, …], every view of a row being as likely as the plain one."""
        chosen = torch.randint(len(self._views) + 1, (len(positions),), generator=generator).numpy()
        rows = self._plain[positions]
        for number, view in enumerate(self._views, start=1):
            rows[chosen == number] = view[positions[chosen == number]]
        return torch.from_numpy(rows).to(self._device)
