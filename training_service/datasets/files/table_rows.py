"""The rows of a table as each format of file gives them: cells as text, and where each row stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MAX_CELL = 1_000_000
"""The most characters of a cell."""


class UnreadableTable(Exception):
    """A file cannot be read as a table; the text names the place and says why."""


class CellType(StrEnum):
    """The type of a column that a file itself states; its cells are text here all the same."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DATE = "date"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: its number from 1, the line of the file that it ends in (0 where it has none), and its cells by place.

    A missing cell is the empty text, a truth value `true` or `false`, a date or time in ISO 8601.
    """

    number: int
    line: int
    cells: Sequence[str] | Mapping[int, str]

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"row {self.number} (line {self.line})" if self.line else f"row {self.number}"


class RowSource(Protocol):
    """A file that is read once, row by row, in bounded memory."""

    @property
    def names(self) -> Sequence[str]:
        """The names of the columns, as the file has them."""
        ...

    @property
    def types(self) -> Mapping[int, CellType]:
        """The types of columns by place, where the file states them."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What was detected about the file, a sentence each."""
        ...

    def rows(self) -> Iterator[TableRow]:
        """Yield rows; raise UnreadableTable naming the first that cannot be read."""
        ...

    def detach(self) -> None:
        """Leave the file open for others."""
        ...


def check_cells(row: TableRow, names: Sequence[str]) -> TableRow:
    """Return a row; raise UnreadableTable naming a cell that is too long for memory."""
    cells = row.cells
    if max(map(len, cells if isinstance(cells, Sequence) else cells.values()), default=0) > MAX_CELL:
        place = next(place for place, name in enumerate(names) if len(cells[place]) > MAX_CELL)
        raise UnreadableTable(
            f"{row.place}, column {names[place][:200]!r}: has {len(cells[place])} characters: {MAX_CELL} at most"
        )
    return row
