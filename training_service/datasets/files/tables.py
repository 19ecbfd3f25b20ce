"""A table of any format, read row by row: its columns are checked, and each fault is named by row and column."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from model_store.errors import InvalidInput
from model_store.normal_form import normal_form, unshowable
from model_store.texts import MAX_LABEL, quoted
from training_service.datasets.files.delimited import DelimitedRows
from training_service.datasets.files.formats import Format
from training_service.datasets.files.json_lines import JsonRows
from training_service.datasets.files.parquet import ParquetRows
from training_service.datasets.files.table_rows import CellType, RowSource, TableRow, UnreadableTable
from training_service.datasets.split_names import SPLIT_NAMES, split_of
from training_service.datasets.splits import Split

MAX_COLUMNS = 100_000
MAX_NAME_LENGTH = 200
MAX_NUMBER = 3.4028234663852886e38  # the largest of float32

_SOURCES: Mapping[Format, Callable[[IO[bytes]], RowSource]] = {
    Format.CSV: DelimitedRows,
    Format.JSON_LINES: JsonRows,
    Format.PARQUET: ParquetRows,
}
_CALLED = {Format.CSV: "the CSV file", Format.JSON_LINES: "the JSON Lines file", Format.PARQUET: "the Parquet file"}
TABLES = frozenset(_SOURCES)
"""The formats of tables."""


class Table:
    """A table that is read once; `columns` are its names, `types` what the file states of them, by place.

    `remarks` say what was detected about the file: its encoding and its separator.
    """

    def __init__(self, file: IO[bytes], form: Format = Format.CSV, *, name: str = "", field: str = "") -> None:
        """Read the names of the columns; raise InvalidInput, naming the table, where they cannot be used.

        `name` and `field` are those of refusals, by default those of the format.
        """
        self._name = name or _CALLED[form]
        self._field = field or str(form)
        with self._errors():
            self._source = _SOURCES[form](file)
        self.columns = tuple(normal_form(each.strip()) for each in self._source.names)
        self.types: Mapping[int, CellType] = self._source.types
        self.remarks = tuple(self._source.remarks)
        self._check_columns()

    def rows(self) -> Iterator[TableRow]:
        """Yield rows; raise InvalidInput, naming the row, for a malformed one."""
        with self._errors():
            yield from self._source.rows()

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
        self._source.detach()

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
        except UnreadableTable as error:
            raise self.refused(str(error)) from error


def _shown(cell: str) -> str:
    return quoted(cell) if cell else "empty"
