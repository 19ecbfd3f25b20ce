"""The input spec of rows of numbers: each column less its mean, by its standard deviation, where these are known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
MIN_STD = float(np.finfo(np.float32).tiny)
"""The smallest standard deviation that float32 divides by without loss."""
LIMITS = Limits(example=MAX_SIZE, request=256 * MAX_SIZE, batch_cost=1024, queue_cost=32_768)
_INPUT, _ROWS = "INPUT", "rows"
_OPTIONAL = ("standardise", "mean", "std", "columns")
_MAX_NUMBER = float(np.finfo(np.float32).max)
_NUMBER = np.dtype("<f4")


@dataclass(frozen=True)
class ValuesInputSpec:
    """Rows of `size` numbers, float32.

    With `standardise` the columns get mean 0 and standard deviation 1, by the `mean` and `std` of the rows that a
    version was trained on. Without these numbers rows stay unchanged, and the next fine-tune computes them. `columns`
    are the names of the numbers, of versions that were trained on named ones.
    """

    size: int
    standardise: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    columns: tuple[str, ...] = ()
    kind: str = KIND

    def __post_init__(self) -> None:
        check(self.kind == KIND, "kind", f"must be {KIND!r}")
        is_size = type(self.size) is int and 0 < self.size <= MAX_SIZE
        check(is_size, "size", f"must be an integer in 1..{MAX_SIZE}")
        check(type(self.standardise) is bool, "standardise", "must be true or false")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            check(not numbers or self.standardise, name, "must be left out where standardise is not true")
            check(_are_numbers(numbers), name, "must be finite numbers")
        check(len(self.mean) in {0, self.size}, "mean", f"must be {self.size} numbers")
        check(len(self.std) == len(self.mean), "std", "must be as many numbers as mean")
        check(all(isinstance(each, str) for each in self.columns), "columns", "must be texts")
        check(
            len(set(self.columns)) == len(self.columns) in {0, self.size}, "columns", f"must be {self.size}, none twice"
        )
        check(min(self.std, default=1) >= MIN_STD, "std", f"must be at least {MIN_STD}")

    def __hash__(self) -> int:
        """Return the hash of all that is compared; it is asked for with every request."""
        return self._hash

    @property
    def unit(self) -> str:
        """The unit of sizes."""
        return "numbers"

    @property
    def rows_key(self) -> Hashable:
        """The size: rows are prepared as they come, and standardised on the device."""
        return (self.kind, self.size)

    @property
    def device_key(self) -> Hashable:
        """All but the names of columns: these are standardised on the device."""
        return (self.kind, self.size, self.mean, self.std)

    def to_json(self) -> dict[str, Any]:
        """Return the form in a manifest, without defaults."""
        values: dict[str, Any] = {"kind": self.kind, "size": self.size}
        if self.standardise:
            values["standardise"] = True
        if self.mean:
            values |= {"mean": [float(each) for each in self.mean], "std": [float(each) for each in self.std]}
        if self.columns:
            values["columns"] = list(self.columns)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form in a manifest; raise InvalidManifest naming the wrong field."""
        check_names(values, ("kind", "size"), _OPTIONAL)
        lists = {name: values[name] for name in ("mean", "std", "columns") if name in values}
        for name, value in lists.items():
            check(isinstance(value, list | tuple), name, "must be a list")
        return cls(**{**values, **{name: tuple(value) for name, value in lists.items()}})

    def stored(self, data: bytes) -> object:
        """Return the numbers of a row, float32 [n], which are kept in little-endian order."""
        if len(data) % _NUMBER.itemsize:
            raise InvalidExample(f"must be a whole number of float32, and has {len(data)} bytes")
        return np.frombuffer(data, _NUMBER).astype(np.float32, copy=False)

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
        """Return (x - mean) / std, float32; or the rows unchanged without these numbers."""
        if not self.mean:
            return batch
        mean, std = self._scale(batch.x.device)
        return Batch({X: (batch.x - mean).div_(std)}, batch.num_rows)

    def blank(self) -> Rows:
        """Return one row, float32 [1, size]: the mean, or zeros without one."""
        return Rows({X: np.array([self.mean or [0] * self.size], np.float32)}, 1)

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return INPUT, float32 [n, size]."""
        return (TensorForm(_INPUT, "float32", (self.size,), elements=self.columns),)

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

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, self.size, self.standardise, self.mean, self.std, self.columns))

    @cached_property
    def _scales(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}

    def _scale(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return mean and std on a device, made once: for a small network it would take longer than the network."""
        found = self._scales.get(device)
        if found is None:
            with torch.inference_mode(mode=False):  # training uses them too
                mean, std = torch.tensor([self.mean, self.std], dtype=torch.float32, device=device)
            found = self._scales.setdefault(device, (mean, std))
        return found


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


def _are_numbers(values: object) -> bool:
    return isinstance(values, tuple) and all(type(each) in {int, float} and abs(each) <= _MAX_NUMBER for each in values)
