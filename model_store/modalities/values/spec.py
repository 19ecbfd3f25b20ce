"""The input spec of rows of numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities.batch import Batch, X
from model_store.modalities.checks import check, check_names, check_num_rows
from model_store.modalities.spec import Array, Limits, Numbers, Rows, TensorForm, check_finite, concatenated_rows

KIND = "values"
MAX_SIZE = 65536
LIMITS = Limits(example=MAX_SIZE, request=256 * MAX_SIZE, batch_cost=32, queue_cost=1024)
_INPUT, _ROWS = "INPUT", "rows"


@dataclass(frozen=True)
class ValuesInputSpec:
    """Rows of `size` numbers, float32."""

    size: int
    kind: str = KIND

    def __post_init__(self) -> None:
        check(self.kind == KIND, "kind", f"must be {KIND!r}")
        is_size = type(self.size) is int and 0 < self.size <= MAX_SIZE
        check(is_size, "size", f"must be an integer in 1..{MAX_SIZE}")

    @property
    def unit(self) -> str:
        """What sizes count."""
        return "numbers"

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what a manifest holds; raise InvalidManifest naming the field that is wrong."""
        check_names(values, (field.name for field in fields(cls)))
        return cls(**values)

    def open(self, example: object, max_size: int) -> OpenedValues:
        """Take float32 [size] with finite numbers; raise InvalidExample for anything else."""
        if not isinstance(example, np.ndarray) or example.dtype != np.float32 or example.ndim != 1:
            raise InvalidExample(f"must be a row of {self.size} numbers")
        if example.size != self.size:
            raise InvalidExample(f"must be a row of {self.size} numbers, not of {example.size}")
        if example.size > max_size:
            raise InvalidExample(f"{example.size} numbers are over the limit of {max_size}")
        if not np.isfinite(example).all():
            raise InvalidExample(f"number {int(np.isfinite(example).argmin())} is not finite")
        return OpenedValues(example)

    def form(self, _: Rows) -> Hashable:
        """Return the size."""
        return self.size

    def cost(self, _: Rows) -> int:
        """Return 1."""
        return 1

    def collate(self, rows: Sequence[Rows]) -> Rows:
        """Concatenate."""
        return concatenated_rows(rows)

    def to_input(self, batch: Batch) -> Batch:
        """Return the rows as they are."""
        return batch

    def blank(self) -> Rows:
        """Return one row of zeros, float32 [1, size]."""
        return Rows({X: np.zeros((1, self.size), np.float32)}, 1)

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return INPUT, float32 [n, size]."""
        return (TensorForm(_INPUT, "float32", (self.size,)),)

    def read_tensors(self, tensors: Mapping[str, Array]) -> Rows:
        """Return INPUT as rows; raise InvalidExample for numbers that are not finite."""
        rows = tensors[_INPUT]
        check_finite(rows)
        return Rows({X: rows}, len(rows))

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        """Return one tensor `rows`, float32 [n, size]."""
        return {_ROWS: torch.from_numpy(np.ascontiguousarray(rows.arrays[X], np.float32))}

    def from_blob(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Read `to_blob`'s tensor; raise InvalidManifest for any other form."""
        if set(tensors) != {_ROWS}:
            raise InvalidManifest(f"must have one tensor, {_ROWS!r}")
        rows = tensors[_ROWS]
        check_num_rows(len(rows) if rows.ndim else 0, max_rows)
        if rows.dtype != torch.float32 or rows.shape != (len(rows), self.size):
            found = f"{rows.dtype} {list(rows.shape)}"
            raise InvalidManifest(f"must be float32 {[len(rows), self.size]}, not {found}")
        if not bool(rows.isfinite().all()):
            raise InvalidManifest("must be finite numbers")
        return Rows({X: rows.numpy()}, len(rows))


@dataclass(frozen=True)
class OpenedValues:
    """A row of numbers that was checked."""

    values: Numbers

    @property
    def size(self) -> int:
        """The number of numbers."""
        return self.values.size

    def prepare(self) -> Rows:
        """Return float32 [1, size]."""
        return Rows({X: self.values[None]}, 1)
