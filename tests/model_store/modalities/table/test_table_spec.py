"""Rows of a table: cells become numbers and indices, and every other cell is refused by its column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities import prepared, read_input_spec
from model_store.modalities.table.columns import CellKind, TableColumn
from model_store.modalities.table.spec import TableInputSpec

SPEC = TableInputSpec(
    (
        TableColumn("age", CellKind.NUMBER),
        TableColumn("city", CellKind.CATEGORY, ("Bonn", "Rome")),
        TableColumn("member", CellKind.BOOLEAN),
        TableColumn("since", CellKind.DATE),
        TableColumn("zip", CellKind.CATEGORY, buckets=16),
    )
)


def test_the_form_in_a_manifest_is_read_back() -> None:
    """Field by field."""
    assert read_input_spec(SPEC.to_json()) == SPEC


def test_cells_become_numbers_and_indices() -> None:
    """A missing number is NaN, a missing category 0, an unknown one the last index."""
    whole = {"age": 41, "city": "Rome", "member": True, "since": "1970-01-11T12:00", "zip": "01099"}
    rows = prepared(SPEC, [whole, {"age": None, "city": "Oslo", "zip": 7.0}, {"age": "NA", "member": "no"}], 100)
    np.testing.assert_array_equal(rows.arrays["numbers"], [[41, 1, 10.5], [np.nan] * 3, [np.nan, 0, np.nan]])
    cities = rows.arrays["categories"][:, 0]
    assert cities.tolist() == [2, 3, 0]
    hashed = rows.arrays["categories"][:, 1]
    assert hashed[2] == 0
    assert all(1 <= each <= 16 for each in hashed[:2])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"age": "old"}, "column 'age' must be a finite number"),
        ({"age": float("inf")}, "column 'age' must be a finite number"),
        ({"age": 1e39}, "column 'age' must be a finite number"),
        ({"member": 2}, "column 'member' must be true or false"),
        ({"since": "yesterday"}, "column 'since' must be a date"),
        ({"since": "2026-02-30"}, "column 'since' must be a date"),
        ({"citty": "Rome"}, "has a column 'citty' that the version lacks; it has 'age'"),
    ],
)
def test_other_cells_are_refused_by_their_column(cells: dict[str, object], message: str) -> None:
    """The message says what belongs there."""
    with pytest.raises(InvalidExample, match=message):
        prepared(SPEC, [cells], 100)


def test_tensors_are_columns() -> None:
    """One a column, of numbers or of texts."""
    forms = SPEC.tensors()
    assert [(each.name, each.dtype) for each in forms] == [
        ("age", "float32"),
        ("city", "bytes"),
        ("member", "bytes"),
        ("since", "bytes"),
        ("zip", "bytes"),
    ]
    whole = {"age": 41.0, "city": "Rome", "member": "yes", "since": "1970-01-11T12:00", "zip": "01099"}
    cells = [whole, {"city": "Oslo"}, {**whole, "city": "Bonn", "member": "false"}]
    rows = SPEC.read_tensors({each.name: column(each.name, cells) for each in forms})
    wanted = prepared(SPEC, cells, 100)
    assert rows.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(rows.arrays[name], array)
        assert rows.arrays[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        ("age", float("inf"), "row 1: column 'age' must be a finite number"),
        ("member", "2", "row 1: column 'member' must be true or false"),
        ("since", "yesterday", "row 1: column 'since' must be a date"),
    ],
)
def test_wrong_cells_of_tensors_are_refused_by_their_row(name: str, cell: object, message: str) -> None:
    """As cells of a row are, with the number of the row."""
    cells: list[dict[str, object]] = [{}, {name: cell}]
    with pytest.raises(InvalidExample, match=message):
        SPEC.read_tensors({each.name: column(each.name, cells) for each in SPEC.tensors()})


def column(name: str, cells: Sequence[Mapping[str, object]]) -> NDArray[Any]:
    """Return a column of cells as a request sends it, [n, 1]."""
    if name == "age":
        return np.array([[row.get(name, np.nan)] for row in cells], np.float32)
    return np.array([[str(row.get(name, "")).encode()] for row in cells], object)


def test_a_blob_gives_its_rows_back() -> None:
    """An index that no embedding has is refused."""
    rows = prepared(SPEC, [{"age": 1, "city": "Bonn"}], 100)
    again = SPEC.from_blob(SPEC.to_blob(rows), 10)
    np.testing.assert_array_equal(again.arrays["numbers"], rows.arrays["numbers"])
    blob = SPEC.to_blob(rows)
    blob["categories"] = blob["categories"] + 99
    with pytest.raises(InvalidManifest, match="indices"):
        SPEC.from_blob(blob, 10)
