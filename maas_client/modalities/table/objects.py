"""Mappings from columns to cells as examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import NullValue, Value
from maas.inference.v1.inference_pb2 import Example, Row


def example_of(given: Any) -> Example | None:  # noqa: ANN401  whatever a caller has
    """Return the message for a mapping from columns to cells; None for anything else.

    Raise TypeError for a cell that is none: a cell is a text, a number, a truth value, or None for a missing one.
    """
    if not isinstance(given, Mapping):
        return None
    return Example(row=Row(cells={str(name): _value(name, cell) for name, cell in given.items()}))


def _value(name: object, cell: object) -> Value:
    if cell is None or cell != cell:  # noqa: PLR0124  NaN is not itself
        return Value(null_value=NullValue.NULL_VALUE)
    if isinstance(cell, bool):
        return Value(bool_value=cell)
    if isinstance(cell, str):
        return Value(string_value=cell)
    try:
        return Value(number_value=float(cell))  # type: ignore[arg-type]  # a number of any library
    except (TypeError, ValueError) as error:
        kind = type(cell).__name__
        raise TypeError(f"column {name!r}: a cell is a text, a number, a truth value or None, not {kind}") from error
