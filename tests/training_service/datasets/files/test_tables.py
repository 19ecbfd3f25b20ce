"""Tables of every format: what is detected and said, and refusals that name row and column."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_store.errors import InvalidInput
from training_service.datasets.files.formats import Format, format_of
from training_service.datasets.files.table_rows import CellType
from training_service.datasets.files.tables import Table

TEXT = "name,city\nAnn,Genève\nBo,Málaga\n"


def cells_of(data: bytes, form: Format | None = None) -> tuple[Table, list[list[str]]]:
    """Read a whole table."""
    file = io.BytesIO(data)
    table = Table(file, form or format_of(file))
    return table, [list(cast("list[str]", row.cells)) for row in table.rows()]


def parquet_of(**columns: object) -> bytes:
    """Write a Parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-8", ()),
        ("utf-8-sig", ("the file was read as UTF-8 with a byte order mark",)),
        ("utf-16", ("the file was read as UTF-16",)),
        ("utf-16-le", ("the file was read as UTF-16 without a byte order mark",)),
        ("utf-16-be", ("the file was read as UTF-16 without a byte order mark",)),
        ("utf-32", ("the file was read as UTF-32",)),
        ("latin-1", ("the file was read as Windows-1252, of which Latin-1 is a part (its bytes are not UTF-8)",)),
        ("cp1252", ("the file was read as Windows-1252, of which Latin-1 is a part (its bytes are not UTF-8)",)),
    ],
)
def test_the_encoding_is_detected_and_said(codec: str, said: tuple[str, ...]) -> None:
    """Plain UTF-8 needs no remark."""
    text = TEXT if codec != "cp1252" else TEXT.replace("Ann", "“Ann”")
    table, rows = cells_of(text.encode(codec))
    assert rows == [[text.split("\n")[1].split(",")[0], "Genève"], ["Bo", "Málaga"]]
    assert table.remarks == said


@pytest.mark.parametrize(
    ("separator", "said"), [(",", ()), (";", ("semicolons",)), ("\t", ("tabs",)), ("|", ("bars (|)",))]
)
def test_the_separator_is_detected_and_said(separator: str, said: tuple[str, ...]) -> None:
    """It is the one by which all rows have equally many cells, whatever a text holds."""
    data = TEXT.replace(",", separator).replace("Ann", '"An,n; and|more, even\tmore"')
    table, rows = cells_of(data.encode())
    assert [len(row) for row in rows] == [2, 2]
    assert table.remarks == tuple(f"cells are separated by {each}" for each in said)


def test_decimal_commas_do_not_separate() -> None:
    """A file of a German Excel has semicolons between cells, and fewer commas in the header."""
    assert cells_of(b"a, the first;b\n1,5;2,5\n2,5;3\n")[1] == [["1,5", "2,5"], ["2,5", "3"]]


def test_json_lines_are_a_table() -> None:
    """A name that only some objects have is a missing cell elsewhere."""
    lines = [{"a": 1, "b": "x"}, {"a": 1.5, "c": True}, {"b": None}]
    table, rows = cells_of("\n\n".join(map(json.dumps, lines)).encode())
    assert table.columns == ("a", "b", "c")
    assert rows == [["1", "x", ""], ["1.5", "", "true"], ["", "", ""]]


def test_parquet_states_types() -> None:
    """Cells are text as in other formats."""
    table, rows = cells_of(
        parquet_of(
            n=[1, None],
            x=[0.5, float("nan")],
            flag=[True, None],
            zip=["01099", "x"],
            day=pa.array([0, 1], pa.date32()),
            kind=pa.array(["a", None]).dictionary_encode(),
        )
    )
    assert rows == [["1", "0.5", "true", "01099", "1970-01-01", "a"], ["", "nan", "", "x", "1970-01-02", ""]]
    kinds = [CellType.INTEGER, CellType.NUMBER, CellType.BOOLEAN, CellType.TEXT, CellType.DATE, CellType.TEXT]
    assert [table.types[place] for place in range(6)] == kinds


@pytest.mark.parametrize(
    ("data", "form", "text"),
    [
        (b"", Format.CSV, "csv: the CSV file: is empty"),
        (b"a,b\n1,2\n3\n", Format.CSV, "row 2 (line 3) has 1 cells, and the header 2: column 'b' has none"),
        (b"a,b\n1,2,3\n", Format.CSV, "row 1 (line 2) has 3 cells, and the header 2: put a cell"),
        (b'a,b\n1,2\n3,"x\n4,5\n', Format.CSV, "row 2 (line 3), column 'b': a quote is opened and never closed"),
        (b'a,b\n1,2\n3,"x\n4,"y"\n', Format.CSV, "row 2 (line 3), column 'b': cannot be read as CSV"),
        (b"a,b\n" + b"1,2\n" + b"3," + b"x" * 10_000_000, Format.CSV, "row 2 (line 3), column 'b': has 10000000"),
        ("a,é\n".encode() + b"1,\xe9\n", Format.CSV, "line 2 has bytes that are not UTF-8, and lines before it"),
        (b"a,b\n1,\x81\n", Format.CSV, "line 2 has the byte 0x81, which is neither UTF-8 nor Windows-1252"),
        (b"\xff\xfe\0\0a\0\0\0,", Format.CSV, "cannot be read as text: save it as UTF-8"),
        (b"\xff\xfea", Format.CSV, "cannot be read as text: save it as UTF-8"),
        (b'{"a": 1}\n{"a": [1]}\n', Format.JSON_LINES, "row 2 (line 2), column 'a': must be a text, a number"),
        (b'{"a": 1}\n{"a": \n', Format.JSON_LINES, "row 2 (line 2) is no JSON: Expecting value"),
        (b'[{"a": 1}]', Format.JSON_LINES, "row 1 (line 1) must be one JSON object"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", Format.JSON_LINES, "row 1 (line 1) is no JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}\n", Format.JSON_LINES, "row 1 (line 1) is no JSON"),
        (b'{"a": "%s"}\n' % (b"x" * 10_000_000), Format.JSON_LINES, "row 1 (line 1), column 'a': has 10000000"),
        (parquet_of(a=[1], b=[[1, 2]]), Format.PARQUET, "column 'b' is of the type list<element: int64>"),
        (parquet_of(a=[1], b=[{"c": 1}]), Format.PARQUET, "column 'b' is of the type struct<c: int64>"),
        (parquet_of(a=[b"x"]), Format.PARQUET, "column 'a' is of the type binary"),
        (parquet_of(a=["x" * 10_000_000]), Format.PARQUET, "column 'a' has a cell of 10000000 characters"),
        (parquet_of(a=[1])[:-9], Format.PARQUET, "cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_place(data: bytes, form: Format, text: str) -> None:
    """The message names row and column, or the line."""
    with pytest.raises(InvalidInput) as caught:
        cells_of(data, form)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"a,b\n", Format.CSV),
        (b"name\nAnn\n", Format.CSV),
        (TEXT.encode("utf-16"), Format.CSV),
        (TEXT.encode("utf-16-le"), Format.CSV),
        (TEXT.encode("utf-32"), Format.CSV),
        (b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"), Format.CSV),
        (b'{"a": 1}\n', Format.JSON_LINES),
        (b'[{"a": 1}]', Format.JSON_LINES),
        (parquet_of(a=[1]), Format.PARQUET),
        (b"PK\x03\x04", Format.ARCHIVE),
        (b"\x1f\x8b,", Format.ARCHIVE),
        (b"", Format.ARCHIVE),
        (b"\x89PNG\r\n\x1a\n\0\0", Format.ARCHIVE),
    ],
)
def test_the_format_is_found_by_the_first_bytes(data: bytes, form: Format) -> None:
    """Text is a table, with one column or several."""
    file = io.BytesIO(data)
    assert (format_of(file), file.tell()) == (form, 0)


class _Repeated(io.RawIOBase):
    """A header, and a row that repeats: a file of any length that is nowhere in memory."""

    def __init__(self, head: bytes, row: bytes, count: int) -> None:
        self._head, self._row, self._size, self._at = head, row, len(head) + count * len(row), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = bytearray()
        while len(data) < min(len(buffer), self._size - self._at):
            at = self._at + len(data)
            if at < len(self._head):
                data += self._head[at:]
            else:
                place = (at - len(self._head)) % len(self._row)
                data += (self._row * 100)[place:]
        size = min(len(buffer), len(data), self._size - self._at)
        buffer[:size] = data[:size]
        self._at += size
        return size


def _peak(num_rows: int) -> int:
    head = (",".join(f"c{number}" for number in range(50)) + "\n").encode()
    row = (",".join("0.25" for _ in range(50)) + "\n").encode()
    file = cast("IO[bytes]", io.BufferedReader(_Repeated(head, row, num_rows)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in _rows(file)) == num_rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _rows(file: IO[bytes]) -> Iterator[object]:
    return Table(file, Format.CSV).rows()


def test_memory_does_not_grow_with_the_rows() -> None:
    """A file is read in pieces, twice: for its encoding, then row by row."""
    _peak(10)
    assert _peak(1600) < 1.3 * _peak(800)
