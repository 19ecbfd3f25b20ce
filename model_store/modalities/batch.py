"""Rows that run together: named tensors and a number of rows, on their way through a chain of stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

X = "x"
"""The tensor that most stages read and write."""
IDS, MASK = "ids", "mask"
"""The tensors of sequences of tokens, [n, tokens] each: int64 numbers of tokens, and false where a row is padded."""
NUMBERS, CATEGORIES = "numbers", "categories"
"""The tensors of rows of a table, [n, columns] each: no sequences, also beside the tokens of a text."""
EMBEDDING = "embedding"
"""The name of the embedding [n, d] if a backbone writes it besides `x`; else the embedding is `x`."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tensors by name, each [num_rows, …]; treat them as immutable.

    Numbers are `x`; a text is `ids` and `mask` first, then `x` and `mask`: a stage passes unknown tensors on.
    """

    tensors: Mapping[str, Tensor]
    num_rows: int

    @classmethod
    def of(cls, x: Tensor) -> Self:
        """Return a batch of the one tensor `x`."""
        return cls({X: x}, len(x))

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, rows: slice) -> Batch:
        """Return some rows, as views."""
        tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}
        return Batch(tensors, len(range(*rows.indices(self.num_rows))))

    @property
    def x(self) -> Tensor:
        """The tensor `x`."""
        return self.tensors[X]

    @property
    def embedding(self) -> Tensor:
        """The embedding [n, d], behind a whole backbone."""
        found = self.tensors.get(EMBEDDING)
        return self.tensors[X] if found is None else found

    def updated(self, tensors: Mapping[str, Tensor]) -> Batch:
        """Return the batch with these tensors added to, or replacing, its own."""
        return Batch({**self.tensors, **tensors}, self.num_rows)

    def without(self, names: Collection[str]) -> Batch:
        """Return the batch without these tensors."""
        return Batch({name: each for name, each in self.tensors.items() if name not in names}, self.num_rows)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        tensors = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors.items()}
        return Batch(tensors, self.num_rows)


def is_sequence(name: str, shape: Sequence[int], mask: Sequence[int]) -> bool:
    """Say whether a tensor [n, length, …] holds the elements that a mask [n, length] is for, by name and shapes."""
    return name not in {NUMBERS, CATEGORIES} and tuple(shape[:2]) == tuple(mask)


def concatenated(batches: Sequence[Batch]) -> Batch:
    """Return the rows of batches with the same tensors one behind the other."""
    if len(batches) == 1:
        return batches[0]
    names = batches[0].tensors
    tensors = {name: torch.cat([batch.tensors[name] for batch in batches]) for name in names}
    return Batch(tensors, sum(batch.num_rows for batch in batches))


def split(batch: Batch, num_parts: int) -> list[Batch]:
    """Return the rows in this number of parts of about equal size, as views."""
    parts = {name: tensor.tensor_split(num_parts) for name, tensor in batch.tensors.items()}
    some = next(iter(parts.values()))
    return [Batch({name: each[i] for name, each in parts.items()}, len(some[i])) for i in range(num_parts)]


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a floating tensor in this dtype, and any other (ids, masks, lengths) as it is."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
