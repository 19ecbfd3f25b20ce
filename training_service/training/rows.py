"""What a step trains on: rows of a dataset as model inputs, from prepared rows or from cached activations.

Rows are read first, which takes the disk and no device and so can be done ahead, and made inputs then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from model_store.modalities import Batch, InputSpec, Rows
from training_service.arrays.records import Positions
from training_service.modalities import TrainingModality
from training_service.modalities.prepared_rows import Lengths, batch_at, lengths_of
from training_service.recipes.recipe import Augmentation


class TrainingRows(Protocol):
    """Rows of a dataset as inputs of what trains; a generator varies them for training, and alone decides how."""

    @property
    def lengths(self) -> Lengths | None:
        """The length of each row's sequence; None for rows of one size."""

    def read(self, positions: Positions, generator: torch.Generator | None = None) -> Batch:
        """Return these rows as they are kept, in the host's memory."""

    def inputs(self, rows: Batch, generator: torch.Generator | None = None) -> Batch:
        """Turn rows that were read, and may be on any device since, into inputs."""


class DatasetRows:
    """Rows as the base's input spec has prepared them."""

    def __init__(self, rows: Rows, modality: TrainingModality, spec: InputSpec, augmentation: Augmentation) -> None:
        self._rows = rows
        self._modality = modality
        self._spec = spec
        self._augmentation = augmentation
        self.lengths = lengths_of(rows)

    def read(self, positions: Positions, generator: torch.Generator | None = None) -> Batch:  # noqa: ARG002  they are varied later
        """Return prepared rows."""
        return batch_at(self._rows, positions)

    def inputs(self, rows: Batch, generator: torch.Generator | None = None) -> Batch:
        """Return what the first stage takes, varied as asked."""
        if generator is None:
            return self._spec.to_input(rows)
        return self._modality.augmented(rows, self._spec, self._augmentation, generator)


class ActivationRows:
    """Rows from the output of frozen stages: of rows as they are served, and of any number of other views."""

    def __init__(self, plain: Rows, views: Sequence[Rows]) -> None:
        self._plain = plain
        self._views = views
        self.lengths = lengths_of(plain)

    def read(self, positions: Positions, generator: torch.Generator | None = None) -> Batch:
        """Return what came out; with a generator every view of a row is as likely as the plain one."""
        rows = batch_at(self._plain, positions)
        if generator is not None:
            chosen = torch.randint(len(self._views) + 1, (len(positions),), generator=generator)
            for number, view in enumerate(self._views, start=1):
                places = torch.nonzero(chosen == number).flatten()
                for name, tensor in batch_at(view, positions[places.numpy()]).tensors.items():
                    rows.tensors[name][places] = tensor
        return rows

    def inputs(self, rows: Batch, generator: torch.Generator | None = None) -> Batch:  # noqa: ARG002  read varied
        """Return the rows."""
        return rows
