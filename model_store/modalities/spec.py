"""The protocol of a modality: from an example to rows, which rows may share a batch, and the cost of a row."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_store.blobs import BlobStore
from model_store.errors import InvalidExample
from model_store.modalities.batch import Batch

Array = NDArray[Any]
Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Prepared rows of one form, in the host's memory: arrays by name, each [n, …]."""

    arrays: Mapping[str, Array]
    num_rows: int

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, rows: slice) -> Rows:
        """Return some rows, as views."""
        if (rows.start, rows.stop, rows.step) == (0, self.num_rows, None):
            return self
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return Rows(arrays, len(range(*rows.indices(self.num_rows))))

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def form(self) -> Hashable:
        """Names, types and shapes of the arrays without the number of rows: equal forms can be concatenated."""
        return tuple((name, array.dtype.str, array.shape[1:]) for name, array in self.arrays.items())


@dataclass(frozen=True)
class TensorForm:
    """One tensor that a request may send: [n, *shape], where -1 stands for any size; for Open Inference clients.

    `alternative` numbers the ways to send an example: a request sends all tensors of one of them. `dtype` is numpy's
    name, or `bytes` for an encoded example. `layout` gives the meaning of the dimensions: `nhwc`, `nchw`, or nothing.
    `elements` are the names of a row's elements, where they are known.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str = ""
    alternative: int = 0
    elements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Limits of a modality where an operator sets no others.

    The size of one example and of a request's examples together, in the modality's unit; the cost of the rows that the
    device runs at once, and of those that may wait.
    """

    example: int
    request: int
    batch_cost: int
    queue_cost: int


class Opened(Protocol):
    """An example that was looked at and costs little memory yet; `prepare` does the rest of the work, once."""

    @property
    def size(self) -> int:
        """The size of the prepared example, in the modality's unit."""
        ...

    def prepare(self) -> Rows:
        """Return the example as one row; raise InvalidExample naming the fault."""
        ...


class InputSpec(Protocol):
    """The way from an example to the input of the first stage: data in the manifest, run by one piece of code.

    Frozen and hashable; any number of threads may use it concurrently.
    """

    def __hash__(self) -> int:
        """Equal specs prepare equal rows."""
        ...

    @property
    def kind(self) -> str:
        """Name of the modality."""
        ...

    @property
    def unit(self) -> str:
        """The unit of sizes of examples, in the plural: characters, samples, numbers."""
        ...

    @property
    def rows_key(self) -> Hashable:
        """The common key of two specs if rows that one has prepared can go through the other."""
        ...

    @property
    def device_key(self) -> Hashable:
        """The common key of two specs whose `to_input` is the same: their rows share a batch from the start."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        ...

    def stored(self, data: bytes) -> object:
        """Return the example that a dataset keeps in these bytes; raise InvalidExample where none can be in them."""
        ...

    def open(self, example: object, max_size: int) -> Opened:
        """Look at an example; raise InvalidExample for one of another modality, damaged, or larger than `max_size`."""
        ...

    def form(self, rows: Rows) -> Hashable:
        """Return the form of a row after `to_input`: rows of equal form may share a batch."""
        ...

    def cost(self, rows: Rows) -> int:
        """Return the cost of one of these rows: 1 if all rows are alike, the padded number of tokens for a text."""
        ...

    def collate(self, rows: Sequence[Rows]) -> Rows:
        """Put rows together: concatenate those of one form, pad those of several."""
        ...

    def to_input(self, batch: Batch) -> Batch:
        """Return rows on their device as the first stage takes them, normalised there."""
        ...

    def blank(self) -> Rows:
        """Return one row of no example, for warm-up."""
        ...

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return the tensors that a request may send in the Open Inference Protocol."""
        ...

    def read_tensors(self, tensors: Mapping[str, Array]) -> Rows | Sequence[object]:
        """Return rows of tensors that a request sent, or examples that must be opened and prepared first.

        Names, dtypes and shapes are those of `tensors`, encoded files are an array of objects. Raise InvalidExample for
        numbers that are not finite.
        """
        ...

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        """Return rows as the tensors of a blob, for the calibration of a version."""
        ...

    def from_blob(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Return the 1 to `max_rows` rows in a blob's tensors; raise InvalidManifest for any other form."""
        ...


@runtime_checkable
class SpecWithFiles(Protocol):
    """An input spec that names files of the store, such as a tokenizer, in `files` of a manifest's `input_spec`."""

    def with_files(self, blobs: BlobStore) -> InputSpec:
        """Return the spec with its files, each of bounded size and verified, ready to prepare examples.

        Raises MissingBlob, CorruptBlob, and InvalidManifest for a file that is not what the spec needs.
        """
        ...


def prepared(spec: InputSpec, examples: Sequence[object], max_size: int) -> Rows:
    """Return examples as rows, in order; raise InvalidExample for the first that cannot be used."""
    return spec.collate([spec.open(example, max_size).prepare() for example in examples])


def concatenated_rows(rows: Sequence[Rows]) -> Rows:
    """Return rows of one form one behind the other."""
    if len(rows) == 1:
        return rows[0]
    arrays = {name: np.concatenate([each.arrays[name] for each in rows]) for name in rows[0].arrays}
    return Rows(arrays, sum(each.num_rows for each in rows))


def check_finite(rows: Array) -> None:
    """Raise InvalidExample, naming the first row of [n, …] that has a number which is not finite."""
    if not np.isfinite(rows).all():
        odd = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
        raise InvalidExample(f"row {int(odd[0])} has NaN or infinity")
