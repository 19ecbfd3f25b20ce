"""Reads delimited text row by row: cells separated by commas, semicolons, tabs or bars, in any usual encoding.

Python's own csv module is used because it streams, and gives the row and column of each cell, which a refusal needs.
Libraries that guess types would turn a text (`NA`, for example) into a missing number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO

from training_service.datasets.files.encodings import UnknownEncoding, detect_encoding
from training_service.datasets.files.table_rows import CellType, TableRow, UnreadableTable, check_cells

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
_MAX_LINE = 16 * 1024 * 1024  # characters: 160 for each column of the widest table
_SAMPLE_LINES = 50
_QUOTE = '"'
# The module's own limit is that of the process, and 131,072 characters; a cell that is too long is refused by its name.
csv.field_size_limit(2 * _MAX_LINE)


class DelimitedRows:
    """The rows of delimited text, of which the first line names the columns."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read the first line; raise UnreadableTable."""
        with _errors():
            encoding = detect_encoding(file)
        self._text = io.TextIOWrapper(file, encoding=encoding.codec, newline="")
        self._number = 0
        self._record: list[str] = []  # the lines of the row that is being read
        with _errors():
            lines = _lines(self._text)
            sample = list(islice(lines, _SAMPLE_LINES))
            self._separator = _separator(sample)
            self._rows = csv.reader(self._noted(chain(sample, lines)), delimiter=self._separator, strict=True)
        self._names = self._next() or []
        self._said = encoding.said

    @property
    def names(self) -> Sequence[str]:
        """The cells of the first line."""
        return self._names

    @property
    def types(self) -> Mapping[int, CellType]:
        """None: text states no types."""
        return {}

    @property
    def remarks(self) -> Sequence[str]:
        """The encoding and the separator, unless they are UTF-8 and commas."""
        encoding = [f"the file was read as {self._said}"] if self._said else []
        separator = [f"cells are separated by {SEPARATORS[self._separator]}"] if self._separator != "," else []
        return (*encoding, *separator)

    def rows(self) -> Iterator[TableRow]:
        """Yield rows, without empty lines; raise UnreadableTable for malformed text and for a row of another length."""
        while (cells := self._next()) is not None:
            if not cells:
                continue
            self._number += 1
            row = TableRow(self._number, self._rows.line_num, list(map(str.strip, cells)))
            if len(cells) != len(self._names):
                raise UnreadableTable(self._ragged(row))
            yield check_cells(row, self._names)

    def detach(self) -> None:
        """Leave the file open for others."""
        self._text.detach()

    def _next(self) -> list[str] | None:
        self._record.clear()
        first = self._rows.line_num + 1
        with _errors():
            try:
                return next(self._rows, None)
            except csv.Error as error:
                raise UnreadableTable(self._malformed(error, first)) from error

    def _noted(self, lines: Iterator[str]) -> Iterator[str]:
        size = 0
        for line in lines:
            size = size + len(line) if self._record else len(line)
            if size > _MAX_LINE:
                raise csv.Error(f"a row has over {_MAX_LINE} characters")
            self._record.append(line)
            yield line

    def _ragged(self, row: TableRow) -> str:
        text = f"{row.place} has {len(row.cells)} cells, and the header {len(self._names)}"
        if len(row.cells) < len(self._names):
            return f"{text}: column {self._names[len(row.cells)][:200]!r} has none"
        return f"{text}: put a cell that holds a separator in quotes"

    def _malformed(self, error: csv.Error, first: int) -> str:
        row = f"row {self._number + 1}" if hasattr(self, "_names") else "the header"
        where = f"{row} (line {first})"
        if place := _open_quote(self._record, self._separator):
            name = f"column {self._names[place - 1][:200]!r}" if 0 < place <= len(self._names) else f"cell {place}"
            if "unexpected end" in str(error) or "characters" in str(error):
                return f"{where}, {name}: a quote is opened and never closed"
            return f"{where}, {name}: cannot be read as CSV: {error}"
        return f"cannot be read as CSV: {error} ({where})"


def _open_quote(record: Sequence[str], separator: str) -> int:
    """Return the number, from 1, of the last cell of a row that begins with a quote; 0 without one."""
    cell, found, is_open, is_start = 1, 0, False, True
    for character in chain.from_iterable(record):
        if character == _QUOTE and (is_open or is_start):
            is_open = not is_open
            found = cell
        elif character == separator and not is_open:
            cell += 1
            is_start = True
            continue
        is_start = False
    return found


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except UnknownEncoding as error:
        raise UnreadableTable(f"cannot be read as text: {error}: save it as UTF-8") from error
    except UnicodeError as error:
        raise UnreadableTable("cannot be read as text: save it as UTF-8") from error
    except csv.Error as error:
        raise UnreadableTable(f"cannot be read as CSV: {error}") from error


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield lines; raise csv.Error for a line too long for memory, as in a file without line ends."""
    while line := text.readline(_MAX_LINE):
        if len(line) == _MAX_LINE and not line.endswith(("\n", "\r")):
            raise csv.Error(f"a line has over {_MAX_LINE} characters")
        yield line


def _separator(sample: Sequence[str]) -> str:
    """Return the separator by which all rows of a sample have equally many cells, of several the most frequent.

    Without one it is the most frequent in the header, by default a comma.
    """
    head = sample[0] if sample else ""
    even = [each for each in SEPARATORS if each in head and _is_even(sample, each)]
    return max(even or list(SEPARATORS), key=head.count)


def _is_even(sample: Sequence[str], separator: str) -> bool:
    try:
        sizes = [len(cells) for cells in csv.reader(sample, delimiter=separator) if cells]
    except csv.Error:
        return False
    return len(set(sizes[:-1] if len(sample) == _SAMPLE_LINES else sizes)) == 1  # the last row may be cut
