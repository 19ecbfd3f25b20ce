"""The input spec of rows of a table: its schema, by which cells become numbers, indices of categories, and tokens."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from model_store.blobs import BlobStore
from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities.batch import CATEGORIES, IDS, MASK, NUMBERS, Batch
from model_store.modalities.checks import check, check_names, check_num_rows
from model_store.modalities.spec import Array, Limits, Rows, TensorForm, concatenated_rows
from model_store.modalities.table.columns import CellKind, TableColumn
from model_store.modalities.table.tensors import cells_in, indices_in, numbers_in
from model_store.modalities.table.texts import TOKENS_PER_COST, text_entries, text_of_entries
from model_store.modalities.text.spec import TextInputSpec

T = TypeVar("T")
KIND = "table"
MAX_COLUMNS = 4096
LIMITS = Limits(example=MAX_COLUMNS, request=256 * MAX_COLUMNS, batch_cost=1024, queue_cost=32_768)
_SHOWN = 10


@dataclass(frozen=True)
class TableInputSpec:
    """Rows with these columns.

    A row is `numbers`, float32 [k], of the columns of numbers, dates (days since 1970-01-01) and truth values (0 and
    1), NaN where a cell is missing, and `categories`, int64 [c], indices of categories. Without such columns the tensor
    is left out. A table may have one column of texts, which `text` says how to read: then a row has `ids`, int32
    [tokens], and `mask`, bool [tokens], too, and costs as much of a batch as a text of so many tokens does.
    """

    columns: tuple[TableColumn, ...]
    text: TextInputSpec | None = None
    kind: str = KIND

    def __post_init__(self) -> None:
        check(self.kind == KIND, "kind", f"must be {KIND!r}")
        check(0 < len(self.columns) <= MAX_COLUMNS, "columns", f"must be 1 to {MAX_COLUMNS}")
        check(len({each.name for each in self.columns}) == len(self.columns), "columns", "must have no name twice")
        texts = [each.name for each in self.columns if each.kind is CellKind.TEXT]
        check(len(texts) == (self.text is not None), "columns", "must have one of type text, with text alone")
        check(len(texts) < len(self.columns), "columns", "must have another column than one of type text")

    def __hash__(self) -> int:
        """Return the hash of all that is compared; it is asked for with every request."""
        return self._hash

    @property
    def unit(self) -> str:
        """The unit of sizes."""
        return "cells"

    @property
    def rows_key(self) -> Hashable:
        """The columns."""
        return self

    @property
    def device_key(self) -> Hashable:
        """The columns; of rows with a text the kind alone, as these are told apart by their form."""
        return self if self.text is None else (self.kind, self.text.device_key)

    @cached_property
    def number_columns(self) -> tuple[TableColumn, ...]:
        """The columns of `numbers`, in order."""
        return tuple(each for each in self.columns if each.kind not in {CellKind.CATEGORY, CellKind.TEXT})

    @cached_property
    def category_columns(self) -> tuple[TableColumn, ...]:
        """The columns of `categories`, in order."""
        return tuple(each for each in self.columns if each.kind is CellKind.CATEGORY)

    @cached_property
    def text_column(self) -> TableColumn | None:
        """The column of texts."""
        return next((each for each in self.columns if each.kind is CellKind.TEXT), None)

    @cached_property
    def without_text(self) -> Self:
        """The spec of the other columns alone."""
        return replace(self, columns=tuple(each for each in self.columns if each.kind is not CellKind.TEXT), text=None)

    @cached_property
    def date_places(self) -> tuple[int, ...]:
        """The places of dates among the numbers."""
        return tuple(place for place, each in enumerate(self.number_columns) if each.kind is CellKind.DATE)

    def to_json(self) -> dict[str, Any]:
        """Return the form in a manifest."""
        columns = {"kind": self.kind, "columns": [each.to_json() for each in self.columns]}
        return columns if self.text is None else {**columns, **text_entries(self.text)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form in a manifest; raise InvalidManifest naming the wrong field."""
        text = text_of_entries(values)
        check_names(values, ("kind", "columns", *(text_entries(text) if text is not None else ())))
        columns = values["columns"]
        check(isinstance(columns, list) and len(columns) <= MAX_COLUMNS, "columns", "must be a list of columns")
        read = [TableColumn.from_json(each, f"columns[{place}]") for place, each in enumerate(columns)]
        return cls(tuple(read), text, values["kind"])

    def with_files(self, blobs: BlobStore) -> Self:
        """Return the spec with the tokenizer of its texts from the store; raises what that of texts does."""
        return self if self.text is None else replace(self, text=self.text.with_files(blobs))

    def stored(self, data: bytes) -> object:
        """Return the cells of a row by column; further columns of the dataset are left out."""
        try:
            cells = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidExample("must be a JSON object") from error
        if not isinstance(cells, dict):
            raise InvalidExample("must be a JSON object")
        return {name: cell for name, cell in cells.items() if name in self._names}

    def open(self, example: object, max_size: int) -> OpenedRow:
        """Take cells by column, of which any may be missing; raise InvalidExample for an unknown column."""
        if not isinstance(example, Mapping):
            raise InvalidExample("must be a row with cells by column")
        if len(example) > max_size:
            raise InvalidExample(f"{len(example)} cells are over the limit of {max_size}")
        if unknown := next((name for name in example if name not in self._names), None):
            shown = ", ".join(repr(each.name) for each in self.columns[:_SHOWN])
            raise InvalidExample(f"has a column {str(unknown)[:200]!r} that the version lacks; it has {shown}")
        return OpenedRow(self, example)

    def form(self, rows: Rows) -> Hashable:
        """Return the one form; of rows with a text the numbers of columns, and the padded number of tokens."""
        if self.text is None:
            return KIND
        return KIND, len(self.number_columns), len(self.category_columns), self.text.form(rows)

    def cost(self, rows: Rows) -> int:
        """Return 1, or for rows with a text their share of a batch of texts, in rows of a batch of a table."""
        return 1 if self.text is None else -(-self.text.cost(rows) // TOKENS_PER_COST)

    def collate(self, rows: Sequence[Rows]) -> Rows:
        """Concatenate; texts are padded to the longest."""
        if self.text is None or len(rows) == 1:
            return concatenated_rows(rows)
        texts = self.text.collate(rows)
        others = [Rows(_without(each.arrays, texts.arrays), len(each)) for each in rows]
        return Rows({**concatenated_rows(others).arrays, **texts.arrays}, len(texts))

    def to_input(self, batch: Batch) -> Batch:
        """Return the rows, with ids as int64: the first stages impute and scale."""
        return batch if self.text is None else self.text.to_input(batch)

    def blank(self) -> Rows:
        """Return one row of zeros and missing categories."""
        arrays: dict[str, Array] = {}
        if self.number_columns:
            arrays[NUMBERS] = np.zeros((1, len(self.number_columns)), np.float32)
        if self.category_columns:
            arrays[CATEGORIES] = np.zeros((1, len(self.category_columns)), np.int64)
        if self.text is not None:
            arrays |= self.text.blank().arrays
        return Rows(arrays, 1)

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return a tensor for each column: float32 [n, 1], NaN where missing, or texts, empty where missing."""
        numbers = {each.name for each in self.columns if each.kind is CellKind.NUMBER}
        return tuple(
            TensorForm(each.name, "float32" if each.name in numbers else "bytes", (1,)) for each in self.columns
        )

    def read_tensors(self, tensors: Mapping[str, Array]) -> Rows | Sequence[object]:
        """Return the rows, a column at a time; raise InvalidExample naming the column, and the row, of a wrong cell.

        Rows with a text are returned as cells by column, to be opened and prepared.
        """
        if self.text is not None:
            return cells_in(tensors)
        arrays: dict[str, Array] = {}
        if columns := self.number_columns:
            arrays[NUMBERS] = np.stack([numbers_in(each, tensors[each.name].reshape(-1)) for each in columns], axis=1)
        if columns := self.category_columns:
            arrays[CATEGORIES] = np.stack(
                [indices_in(each, tensors[each.name].reshape(-1)) for each in columns], axis=1
            )
        return Rows(arrays, len(next(iter(arrays.values()))))

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        """Return the tensors of rows by their names."""
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in rows.arrays.items()}

    def from_blob(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Read `to_blob`'s tensors; raise InvalidManifest for any other form."""
        if self.text is not None:
            return self._with_texts(tensors, max_rows)
        wanted = self.blank().arrays
        if set(tensors) != set(wanted):
            raise InvalidManifest(f"must have the tensors {', '.join(wanted)}")
        some = next(iter(tensors.values()))
        num_rows = len(some) if some.ndim else 0
        check_num_rows(num_rows, max_rows)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        for name, array in wanted.items():
            if arrays[name].dtype != array.dtype or arrays[name].shape != (num_rows, *array.shape[1:]):
                raise InvalidManifest(f"{name} must be {array.dtype} {[num_rows, *array.shape[1:]]}")
        if NUMBERS in arrays and np.isinf(arrays[NUMBERS]).any():
            raise InvalidManifest(f"{NUMBERS} must be finite, or NaN")
        if CATEGORIES in arrays and not self._has(arrays[CATEGORIES]):
            raise InvalidManifest(f"{CATEGORIES} must be indices of the columns' categories")
        return Rows(arrays, num_rows)

    def _with_texts(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Read the tensors of rows with a text."""
        assert self.text is not None  # noqa: S101  asked before
        texts = self.text.from_blob({name: each for name, each in tensors.items() if name in {IDS, MASK}}, max_rows)
        others = self.without_text.from_blob(_without(tensors, texts.arrays), max_rows)
        if len(others) != len(texts):
            raise InvalidManifest(f"must be {len(texts)} rows each, not {len(others)}")
        return Rows({**others.arrays, **texts.arrays}, len(texts))

    def _has(self, indices: Array) -> bool:
        """Say whether these are indices of categories: any other would read beyond an embedding."""
        sizes = np.array([each.num_categories for each in self.category_columns])
        return bool(((indices >= 0) & (indices < sizes)).all())

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(each.name for each in self.columns)

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, self.columns, self.text))


@dataclass(frozen=True)
class OpenedRow:
    """Cells by column, of known names."""

    spec: TableInputSpec
    cells: Mapping[str, object]

    @property
    def size(self) -> int:
        """The number of columns."""
        return len(self.spec.columns)

    def prepare(self) -> Rows:
        """Return `numbers` float32 [1, k], `categories` int64 [1, c], and the tokens of a text.

        Raise InvalidExample naming a column.
        """
        arrays: dict[str, Array] = {}
        cells = self.cells
        if columns := self.spec.number_columns:
            arrays[NUMBERS] = np.array([[each.number(cells.get(each.name)) for each in columns]], np.float32)
        if columns := self.spec.category_columns:
            arrays[CATEGORIES] = np.array([[each.index(cells.get(each.name)) for each in columns]], np.int64)
        if (text := self.spec.text) is not None and (column := self.spec.text_column) is not None:
            arrays |= text.prepared(column.text(cells.get(column.name))).arrays
        return Rows(arrays, 1)


def _without(arrays: Mapping[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: array for name, array in arrays.items() if name not in names}
