"""The columns of a table as tensors of a request: a tensor [n, 1] each, of numbers or of texts in UTF-8."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from model_store.errors import InvalidExample
from model_store.modalities.spec import Array
from model_store.modalities.table.columns import CellKind, TableColumn

T = TypeVar("T")


def numbers_in(column: TableColumn, values: Array) -> Array:
    """Return one column of `numbers`, float32 [n]."""
    if column.kind is not CellKind.NUMBER:
        return np.array(_each(column.number, _texts(column, values)), np.float32)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise InvalidExample(f"row {row}: column {column.name!r} must be a finite number, or NaN for a missing one")
    return values


def indices_in(column: TableColumn, values: Array) -> Array:
    """Return one column of `categories`, int64 [n]."""
    return np.array(_each(column.index, _texts(column, values)), np.int64)


def _each(read: Callable[[object], T], texts: Sequence[str]) -> list[T]:
    """Return what is read of each text; read each of several equal ones once."""
    found: dict[str, T] = {}
    for row, text in enumerate(texts):
        if text not in found:
            try:
                found[text] = read(text)
            except InvalidExample as error:
                raise InvalidExample(f"row {row}: {error}") from error
    return [found[text] for text in texts]


def _texts(column: TableColumn, values: Array) -> list[str]:
    try:
        return [bytes(each).decode() for each in values]
    except UnicodeDecodeError as error:
        raise InvalidExample(f"column {column.name!r} must be texts in UTF-8") from error


def cells_in(tensors: Mapping[str, Array]) -> list[dict[str, object]]:
    """Return the cells of each row by column, of tensors [n, 1] of numbers or of texts in UTF-8."""
    cells = {name: [_cell(name, each) for each in array.reshape(-1).tolist()] for name, array in tensors.items()}
    return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def _cell(column: str, value: object) -> object:
    """Return a number, None for NaN, or the text in bytes; raise InvalidExample naming the column."""
    if isinstance(value, float):
        return None if np.isnan(value) else value
    try:
        return bytes(value).decode()  # type: ignore[call-overload]  # the protocol's element of a string
    except UnicodeDecodeError as error:
        raise InvalidExample(f"column {column!r} must be texts in UTF-8") from error
