"""The schema of a table: types as cells, file or caller say, and refusals by row and column."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_store.errors import InvalidInput
from training_service.datasets.columns import ColumnRole, ColumnType
from training_service.datasets.examples import ReadExamples
from training_service.datasets.files.formats import Format
from training_service.datasets.packs import Spool
from training_service.datasets.reading import Asked, Reading, Received
from training_service.modalities.table.reading import read_table

Types = Sequence[tuple[str, ColumnType]]


def read(text: str, types: Types = (), task: str = "") -> tuple[ReadExamples, list[dict[str, object]]]:
    """Read a CSV file, and return its rows as they are kept."""
    with tempfile.TemporaryFile() as spooled, ThreadPoolExecutor(1) as threads:
        spool = Spool(spooled)
        received = Received(Format.CSV, table=io.BytesIO(text.encode()))
        found = read_table(Reading(received, Asked(task, (), types), spool, [], threads, 4096, lambda: None))
        return found, [json.loads(spool.read(each)) for each in found.examples]


def table(columns: str, row: str, num_rows: int = 60) -> str:
    """Return a CSV file with a target `y`, and these columns of the row's number `n`."""
    rows = [
        f"{row.format(n=n, even='yes' if n % 2 else 'no', kind='abc'[n % 3])},{'uv'[n % 2]}" for n in range(num_rows)
    ]
    return "\n".join([f"{columns},y", *rows])


@pytest.mark.parametrize(
    ("row", "kind", "cell"),
    [
        ("{n}.5", ColumnType.NUMBER, 1.5),
        ("{even}", ColumnType.BOOLEAN, True),
        ("{kind}", ColumnType.CATEGORY, "b"),
        ("2026-01-{kind}", ColumnType.CATEGORY, "2026-01-b"),
        ("{n}.1.2026", ColumnType.CATEGORY, "1.1.2026"),
    ],
)
def test_a_type_is_inferred_from_all_cells(row: str, kind: ColumnType, cell: object) -> None:
    """One cell that does not fit makes categories of all."""
    found, rows = read(table("a", row, 20))
    assert [(each.name, each.type) for each in found.columns] == [("a", kind), ("y", ColumnType.TEXT)]
    assert rows[1] == {"a": cell}


def test_dates_are_found() -> None:
    """As ISO 8601 writes them, and day first with points."""
    for text in ("2026-01-{n}", "{n}.1.2026"):
        found, _ = read("\n".join(["a,y", *(f"{text.format(n=f'{n:02d}')},{'uv'[n % 2]}" for n in range(1, 21))]))
        assert found.columns[0].type is ColumnType.DATE


def test_missing_cells_are_left_out() -> None:
    """However they are written."""
    _, rows = read(table("a,b", "NA,{n}", 20).replace("NA,3", "7,nan"))
    assert (rows[0], rows[3]) == ({"b": 0.0}, {"a": 7.0})


def test_columns_that_say_nothing_of_a_row_are_ignored_with_a_remark() -> None:
    """An empty column, and numbers of rows; texts that hardly repeat are kept for a text base."""
    found, rows = read(table("none,id,note,x", "NA,{n},text {n},{n}"))
    assert rows[0] == {"x": 0.0, "note": "text 0"}
    remarks = " ".join(found.remarks)
    assert "any cell that is not missing are ignored: 'none'" in remarks
    assert "number the rows are ignored (say their type to use them): 'id'" in remarks
    assert "hardly repeat, are used only with a text base (or say type category): 'note'" in remarks
    assert [(each.name, each.type) for each in found.columns if each.role is ColumnRole.IGNORED] == [
        ("none", ColumnType.UNSPECIFIED),
        ("id", ColumnType.UNSPECIFIED),
    ]
    assert [(each.name, each.type) for each in found.columns if each.role is ColumnRole.FEATURE] == [
        ("x", ColumnType.NUMBER),
        ("note", ColumnType.TEXT),
    ]


def test_the_callers_types_go_before() -> None:
    """A text that hardly repeats is a category then, and a number too."""
    found, rows = read(table("note,n", "text {n},{n}"), [("note", ColumnType.CATEGORY), ("n", ColumnType.CATEGORY)])
    assert [each.type for each in found.columns[:2]] == [ColumnType.CATEGORY, ColumnType.CATEGORY]
    assert rows[5] == {"note": "text 5", "n": "5"}


def test_many_categories_are_hashed() -> None:
    """A remark says how many there are."""
    found, _ = read(table("a", "c{n}", 1000), [("a", ColumnType.CATEGORY)])
    assert found.observed.columns["a"].buckets == 512
    assert any("hashed into a fixed number: 'a' (1000)" in each for each in found.remarks)


@pytest.mark.parametrize(
    ("text", "types", "message"),
    [
        (table("a", "NA"), (), "leaves no column of features"),
        (table("a", "{n}").replace("7,v", "7,NA"), (), "row 8 (line 9), column 'y': is missing (NA)"),
        (table("a", "{n}").replace("7,v", "7,"), (), "row 8 (line 9), column 'y': is empty"),
        (table("a", "{kind}"), [("a", ColumnType.NUMBER)], "row 1 (line 2), column 'a' must be a finite number"),
        (table("a,note", "{n},text {n}").replace("text 3,", "te\0xt,"), (), "row 4 (line 5), column 'note' has"),
        (table("a", "{n}"), [("b", ColumnType.NUMBER)], "names a column 'b' that the file lacks"),
        ("y\nu\nv\n", (), "must have a column of features besides the target"),
        ("a,y\n", (), "leaves no column of features"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_place(text: str, types: Types, message: str) -> None:
    """By row and column."""
    with pytest.raises(InvalidInput) as caught:
        read(text, types)
    assert message in str(caught.value)


def test_the_target_keeps_its_role() -> None:
    """It is the last column unless the caller names one."""
    found, _ = read(table("a", "{n}"))
    assert [(each.name, each.role) for each in found.columns] == [("a", ColumnRole.FEATURE), ("y", ColumnRole.TARGET)]
