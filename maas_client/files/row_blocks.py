"""Tables in blocks of rows: CSV, TSV, JSON Lines and Parquet, from a file or standard input, never whole in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Protocol

from maas_client.files.blocks import Block, LineRows
from maas_client.files.parquet_table import ParquetTable
from maas_client.files.tables import UTF16, Unusable, is_number
from model_store.normal_form import normal_form

_JSON_LINES, _PARQUET = (".jsonl", ".ndjson"), ".parquet"
_TABLES = (".csv", ".tsv", *_JSON_LINES, _PARQUET)
_SEPARATORS = ",;\t|"
_QUOTE, _LONG = '"', 100_000  # characters of a line, which may have a cell that is too long
_PEEKED = 64 * 1024  # bytes that tell of the encoding, and of the separator


class Table(Protocol):
    """The rows of a table, to be read once."""

    name: str
    columns: Sequence[str]

    @property
    def has_header(self) -> bool:
        """Say whether the first line names columns."""
        ...

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file were read."""
        ...

    def blocks(self, num_rows: int, *, from_first_line: bool = False) -> Iterator[Block]:
        """Yield blocks of this many rows, the last one smaller; `from_first_line` takes it for a row as well."""
        ...


class RowTable:
    """The rows of a table: the names of its columns, and its blocks, to be read once.

    A cell of JSON is the text that a CSV file would have: empty for null and for a key that a line lacks.
    """

    def __init__(self, name: str, raw: IO[bytes], *, is_json: bool) -> None:
        """Begin to read; raise Unusable where this is no table."""
        self.name = name
        self._raw = raw
        head = raw.peek(_PEEKED) if hasattr(raw, "peek") else b""
        self._text = TextIOWrapper(raw, "utf-16" if head.startswith(UTF16) else "utf-8-sig", newline="")
        self._is_json = is_json
        self._objects = self._json_rows()
        self._separator = _separator(name, head)
        self._reader = csv.reader(self._text, delimiter=self._separator, strict=True)
        with self._faults():
            self.columns: Sequence[str] = next(self._objects, (0, ()))[1] if is_json else self._header()
        if not self.columns:
            raise Unusable(f"{name} has no rows")

    @property
    def has_header(self) -> bool:
        """Say whether the first line names columns: no cell of it is a number."""
        return not any(map(is_number, self.columns))

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file were read."""
        return self._raw.tell() if self._raw.seekable() else 0

    def blocks(self, num_rows: int, *, from_first_line: bool = False) -> Iterator[Block]:
        """Yield blocks of this many rows, the last one smaller; `from_first_line` takes it for a row as well."""
        if from_first_line:
            yield Block([self.columns], [1])
        with self._faults():
            yield from self._json_blocks(num_rows) if self._is_json else self._csv_blocks(num_rows)

    def _json_blocks(self, num_rows: int) -> Iterator[Block]:
        while some := list(islice(self._objects, num_rows)):
            yield Block([cells for _, cells in some], [line for line, _ in some])

    def _csv_blocks(self, num_rows: int) -> Iterator[Block]:
        """Yield blocks without a step in Python for each row: a large table has little else that takes as long."""
        line = self._reader.line_num
        while text := list(islice(self._text, num_rows)):
            if not any(_QUOTE in each or len(each) > _LONG or each.isspace() for each in text):
                yield Block(LineRows(text, self._separator), range(line + 1, line + 1 + len(text)))
                line += len(text)
                continue
            reader = csv.reader(chain(text, self._text), delimiter=self._separator, strict=True)
            rows, lines = [], []
            while reader.line_num < len(text):  # a quoted cell may go on behind them
                if row := next(reader):
                    rows.append(row)
                    lines.append(line + reader.line_num)
            line += reader.line_num
            if rows:
                yield Block(rows, lines)

    def _header(self) -> Sequence[str]:
        cells = next(filter(None, self._reader), [])
        return [normal_form(each.strip()) for each in cells]

    def _json_rows(self) -> Iterator[tuple[int, Sequence[str]]]:
        names: list[str] = []
        for number, line in enumerate(self._text, 1):
            if not line.strip():
                continue
            values = _object(line, number)
            if not names:
                names = list(values)
                yield 0, [normal_form(each) for each in names]
            yield number, [_cell(values.get(name)) for name in names]

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError as error:
            raise Unusable(f"{self.name} is not in UTF-8: save it as UTF-8 ({error})") from error
        except csv.Error as error:
            raise Unusable(f"{self.name} is no CSV file: {error}") from error


@contextmanager
def open_table(path: Path, standard_input: IO[bytes]) -> Iterator[Table]:
    """Open a file of rows; `-` is standard input, which is JSON Lines where it begins with a brace.

    Raise Unusable where it cannot be read, or has no rows.
    """
    if str(path) == "-":
        head = standard_input.peek(1) if hasattr(standard_input, "peek") else b""
        yield RowTable("-", standard_input, is_json=head.lstrip()[:1] == b"{")
        return
    if path.suffix.lower() == _PARQUET:
        with closing(ParquetTable(path)) as table:
            yield table
        return
    try:
        raw = path.open("rb")
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror or error}") from error
    with raw:
        yield RowTable(str(path), raw, is_json=path.suffix.lower() in _JSON_LINES)


def is_table(path: Path) -> bool:
    """Say whether a file holds rows, by its name; standard input, `-`, does."""
    return str(path) == "-" or path.suffix.lower() in _TABLES


def _separator(name: str, head: bytes) -> str:
    first = head.split(b"\n", 1)[0].decode(errors="replace")
    return "\t" if name.endswith(".tsv") else max(_SEPARATORS, key=first.count)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"line {number} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise Unusable(f"line {number} must be a JSON object, with a cell for each column")
    return values


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
