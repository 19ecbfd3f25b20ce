"""What a step trains on: rows of a dataset as model inputs, from pixels or from cached activations.

Rows are read first, which takes the disk and no device and so can be done ahead, and made inputs then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model_store.modalities.image.spec import ImageInputSpec, Pixels, normalise
from training_service.features.frozen_features import Activations
from training_service.modalities.image.augment import augmented
from training_service.modalities.image.pixels import Positions
from training_service.recipes.recipe import Augmentation


class Rows(Protocol):
    """Rows of a dataset as inputs of what trains; a generator varies them for training, and alone decides how."""

    def read(self, positions: Positions, generator: torch.Generator | None = None) -> Tensor:
        """Return these rows as they are kept, in the host's memory."""

    def inputs(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Turn rows that were read, and may be on any device since, into inputs: float32 [n, …]."""


class PixelRows:
    """Rows from decoded pixels."""

    def __init__(self, pixels: Pixels, spec: ImageInputSpec, augmentation: Augmentation) -> None:
        self._pixels = pixels
        self._spec = spec
        self._augmentation = augmentation

    def read(self, positions: Positions, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002  pixels are varied later
        """Return uint8 [n, size, size, 3]."""
        return torch.from_numpy(self._pixels[positions])

    def inputs(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return float32 [n, 3, size, size], normalised, and varied as asked."""
        if generator is None:
            return normalise(rows, self._spec)
        return augmented(rows, self._spec, self._augmentation, generator)


class ActivationRows:
    """Rows from the output of frozen stages: of images as they are served, and of any number of other views."""

    def __init__(self, plain: Activations, views: Sequence[Activations]) -> None:
        self._plain = plain
        self._views = views

    def read(self, positions: Positions, generator: torch.Generator | None = None) -> Tensor:
        """Return float32 [n, …]; with a generator every view of a row is as likely as the plain one."""
        rows = self._plain[positions]
        if generator is not None:
            chosen = torch.randint(len(self._views) + 1, (len(positions),), generator=generator).numpy()
            for number, view in enumerate(self._views, start=1):
                rows[chosen == number] = view[positions[chosen == number]]
        return torch.from_numpy(rows)

    def inputs(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002  read varied
        """Return the rows."""
        return rows
