"""The order of training rows: which rows each step takes, in which batches, derived from the seed and the step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from training_service.arrays.records import Positions
from training_service.modalities.prepared_rows import Lengths
from training_service.recipes.recipe import Recipe
from training_service.seeds import generator

_STEPS_SORTED = 8


@dataclass(frozen=True)
class StepBatch:
    """Rows that run at once: batch `number`, from 0, of the `num_in_step` batches of a step."""

    positions: Positions
    step: int
    number: int
    num_in_step: int
    rows_in_step: int


class RowOrder:
    """Shuffles the training rows once an epoch; equal seeds give an equal order.

    With `lengths`, of all rows, a step has rows of about one length, so that little of it is padding: the rows of a few
    steps are sorted by length before they are cut into steps, and the steps are shuffled.
    """

    def __init__(self, train: Positions, recipe: Recipe, seed: int, lengths: Lengths | None = None) -> None:
        self._train = train
        self._batch_size = recipe.batch_size
        self._rows_per_step = recipe.batch_size * recipe.batches_per_step
        self._seed = seed
        self._lengths = lengths
        self.steps_per_epoch = _num_steps(len(train), self._rows_per_step)

    def parts(self, step: int) -> Sequence[Positions]:
        """Return the rows of a step, split into batches of at most the batch size."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = self._epoch_order(epoch)
        start = number * self._rows_per_step
        rows = self._train[order[start : start + self._rows_per_step]]
        return np.array_split(rows, -(-len(rows) // self._batch_size))

    def batches_from(self, step: int) -> Iterator[StepBatch]:
        """Yield the batches of this step and of all that follow, without end."""
        for later in itertools.count(step):
            parts = self.parts(later)
            for number, positions in enumerate(parts):
                yield StepBatch(positions, later, number, len(parts), sum(map(len, parts)))

    @lru_cache(maxsize=2)  # noqa: B019  of one trainer, which lives as long
    def _epoch_order(self, epoch: int) -> Positions:
        """Return the places of the training rows in the order of an epoch."""
        order: Positions = torch.randperm(len(self._train), generator=generator(self._seed, "shuffle", epoch)).numpy()
        if self._lengths is None:
            return order
        lengths, window = self._lengths[self._train], _STEPS_SORTED * self._rows_per_step
        parts = [order[start : start + window] for start in range(0, len(order), window)]
        grouped = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        num_whole = len(grouped) // self._rows_per_step
        steps, rest = np.split(grouped, [num_whole * self._rows_per_step])
        shuffled = torch.randperm(num_whole, generator=generator(self._seed, "shuffle steps", epoch)).numpy()
        return np.concatenate([steps.reshape(num_whole, self._rows_per_step)[shuffled].ravel(), rest])


def _num_steps(num_rows: int, rows_per_step: int) -> int:
    """Return the steps of an epoch; a last step of one row is left out, because BatchNorm needs a variance."""
    whole, rest = divmod(num_rows, rows_per_step)
    return max(whole + (rest > 1), 1)
