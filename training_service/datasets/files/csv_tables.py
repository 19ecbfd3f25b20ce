"""Reads tables as CSV, row by row: text in UTF-8 or UTF-16, separated by commas, semicolons or tabs.

Python's own csv module is used because it streams, and gives the row and column of each cell, which a refusal needs.
Libraries that guess types would turn a text (`NA`, for example) into a missing number.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import IO

from model_store.errors import InvalidInput
from model_store.normal_form import normal_form, unshowable
from model_store.texts import MAX_LABEL, quoted
from training_service.datasets.split_names import SPLIT_NAMES, split_of
from training_service.datasets.splits import Split

MAX_COLUMNS = 100_000
MAX_NAME_LENGTH = 200
MAX_NUMBER = 3.4028234663852886e38  # the largest of float32
_MAX_LINE = 16 * 1024 * 1024  # characters: 160 for each column of the widest table
_SEPARATORS = ",;\t"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class TableRow:
    """One row below the header: its number from 1, the line of the file that it ends in, and its cells by place."""

    number: int
    line: int
    cells: Sequence[str] | Mapping[int, str]

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"row {self.number} (line {self.line})"


class Table:
    """A table that is read once, from its header on; `columns` are the header's names."""

    def __init__(self, file: IO[bytes], name: str, field: str) -> None:
        """Read the header; raise InvalidInput for `field`, naming the table, where it cannot be used."""
        self._name = name
        self._field = field
        with self._errors():
            text = io.TextIOWrapper(file, encoding=_encoding(file), newline="")
            head = next(_lines(text), "")
            self._rows = csv.reader(chain([head], _lines(text)), delimiter=_separator(head), strict=True)
            self._text = text
            names = next(self._rows, [])
        self.columns = tuple(normal_form(each.strip()) for each in names)
        self._check_columns()

    def rows(self) -> Iterator[TableRow]:
        """Yield rows, without empty lines; raise InvalidInput, naming the row, for malformed CSV."""
        number = 0
        while True:
            with self._errors():
                cells = next(self._rows, None)
            if cells is None:
                return
            if not cells:
                continue
            number += 1
            row = TableRow(number, self._rows.line_num, [cell.strip() for cell in cells])
            if len(cells) != len(self.columns):
                raise self.refused(f"{row.place} has {len(cells)} cells, and the header {len(self.columns)}")
            yield row

    def number(self, row: TableRow, place: int) -> float:
        """Return a cell's number, within the range of float32; raise InvalidInput naming the cell otherwise."""
        cell = row.cells[place]
        try:
            number = math.nan if "_" in cell else float(cell)
        except ValueError:
            number = math.nan
        if not abs(number) <= MAX_NUMBER:
            raise self.refused(f"{self.cell_place(row, place)}: must be a number, not {_shown(cell)}")
        return number

    def flag(self, row: TableRow, place: int) -> bool:
        """Return whether a cell is 1; raise InvalidInput naming the cell if it is neither 0 nor 1."""
        if (cell := row.cells[place]) not in {"0", "1"}:
            raise self.refused(f"{self.cell_place(row, place)}: must be 0 or 1, not {_shown(cell)}")
        return cell == "1"

    def label(self, row: TableRow, text: str) -> str:
        """Return a label in its normal form; raise InvalidInput naming the row where it cannot be one."""
        label = normal_form(text)
        if not 1 <= len(label) <= MAX_LABEL or unshowable(label):
            rule = f"a label must have 1 to {MAX_LABEL} characters that can be shown"
            raise self.refused(f"{row.place}: {rule}, not {_shown(label)}")
        return label

    def split(self, row: TableRow, place: int) -> Split:
        """Return the split that a cell names; raise InvalidInput naming the cell where it names none."""
        split = split_of(row.cells[place])
        if split is None:
            known = ", ".join(SPLIT_NAMES)
            raise self.refused(f"{self.cell_place(row, place)}: must be one of {known}, not {_shown(row.cells[place])}")
        return split

    def cell_place(self, row: TableRow, place: int) -> str:
        """Return where a cell stands, for a message."""
        return f"{row.place}, column {self.columns[place]!r}"

    def refused(self, reason: str) -> InvalidInput:
        """Return a refusal of the table."""
        return InvalidInput.of(self._field, f"{self._name}: {reason}")

    def detach(self) -> None:
        """Leave the file open for others."""
        self._text.detach()

    def _check_columns(self) -> None:
        if not self.columns:
            raise self.refused("is empty: the first line must name the columns")
        if len(self.columns) > MAX_COLUMNS:
            raise self.refused(f"has {len(self.columns)} columns: {MAX_COLUMNS} at most")
        for number, name in enumerate(self.columns, start=1):
            if not name:
                raise self.refused(f"column {number} has no name in the first line")
            if len(name) > MAX_NAME_LENGTH or unshowable(name):
                raise self.refused(
                    f"the name of column {number} must be at most {MAX_NAME_LENGTH} characters that can be shown"
                )
        name, count = Counter(self.columns).most_common(1)[0]
        if count > 1:
            raise self.refused(f"{count} columns have the name {name!r}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError as error:
            raise self.refused("cannot be read as text: save it as UTF-8") from error
        except csv.Error as error:
            line = f" (near line {self._rows.line_num})" if hasattr(self, "_rows") else ""
            raise self.refused(f"cannot be read as CSV: {error}{line}") from error


def _shown(cell: str) -> str:
    return quoted(cell) if cell else "empty"


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield lines; raise csv.Error for a line too long for memory, as in a file without line ends."""
    while line := text.readline(_MAX_LINE):
        if len(line) == _MAX_LINE and not line.endswith(("\n", "\r")):
            raise csv.Error(f"a line has over {_MAX_LINE} characters")
        yield line


def _encoding(file: IO[bytes]) -> str:
    file.seek(0)
    start = file.read(2)
    file.seek(0)
    return "utf-16" if start in _UTF16 else "utf-8-sig"


def _separator(head: str) -> str:
    """Return the separator of a header's cells: the most frequent candidate, by default a comma."""
    return max(_SEPARATORS, key=head.count)
