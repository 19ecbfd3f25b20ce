"""The targets of a CSV file: the task that their columns make, and the target of each row."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from training_service.datasets.columns import ColumnType
from training_service.datasets.examples import NamedTarget
from training_service.datasets.files.table_rows import TableRow
from training_service.datasets.files.tables import Table

_FLAGS = {"0", "1"}
_MAX_KNOWN = 1000


@dataclass(frozen=True)
class FoundTargets:
    """The task, the names of its labels or targets where columns name them, the columns' type, and all targets."""

    task: str
    names: tuple[str, ...]
    type: ColumnType
    targets: list[NamedTarget]
    remarks: tuple[str, ...] = ()


class CellTargets:
    """The cells of the target columns, row by row: their meaning is known after all of them were read.

    The cells of features are not kept: as text they take many times the memory of their numbers.
    """

    def __init__(self, table: Table, places: Sequence[int]) -> None:
        self._table = table
        self._places = places
        self._cells: list[str] = []  # of all rows, one row behind the other
        self._known: dict[str, str] = {}  # one text for all cells that are equal, up to a limit
        self._numbers_and_lines = array("q")

    def take(self, row: TableRow) -> None:
        """Keep a row's target cells; raise InvalidInput naming an empty one."""
        for place in self._places:
            if not row.cells[place]:
                raise self._table.refused(f"{self._table.cell_place(row, place)}: is empty")
        for place in self._places:
            cell = row.cells[place]
            if cell not in self._known and len(self._known) < _MAX_KNOWN:
                self._known[cell] = cell
            self._cells.append(self._known.get(cell, cell))
        self._numbers_and_lines.extend((row.number, row.line))

    def result(self, task: str) -> FoundTargets:
        """Return the targets for a task; with `task` empty, for the task that the cells fit.

        Raises InvalidInput naming the cells that do not fit it.
        """
        kind = self._type()
        chosen = task or self._fitting(kind)
        names = tuple(self._table.columns[place] for place in self._places)
        if chosen == "regression":
            return FoundTargets(chosen, names, kind, self._all(self._numbers))
        if chosen == "multi_label":
            remark = f"column {names[0]!r} is the only label: name all label columns as targets where there are more"
            remarks = (remark,) if len(names) == 1 else ()
            return FoundTargets(chosen, names, kind, self._all(self._labels), remarks)
        if len(self._places) > 1:
            raise self._table.refused(
                f"has {len(names)} target columns: classification takes one, multi_label and regression take several"
            )
        is_guessed = not task and kind is ColumnType.INTEGER
        remark = (
            f"the whole numbers of column {names[0]!r} are taken for labels: say task regression where they measure"
        )
        return FoundTargets(chosen, (), kind, self._all(self._label), (remark,) if is_guessed else ())

    def _fitting(self, kind: ColumnType) -> str:
        if len(self._places) == 1:
            return "regression" if kind is ColumnType.NUMBER else "classification"
        if set(self._cells) <= _FLAGS:
            return "multi_label"
        return "regression"

    def _type(self) -> ColumnType:
        if all(map(_is_integer, self._cells)):
            return ColumnType.INTEGER
        return ColumnType.NUMBER if all(map(is_number, self._cells)) else ColumnType.TEXT

    def _all(self, target_of: Callable[[TableRow], NamedTarget]) -> list[NamedTarget]:
        return [target_of(row) for row in self._rows()]

    def _rows(self) -> Iterator[TableRow]:
        width = len(self._places)
        for place in range(len(self._numbers_and_lines) // 2):
            number, line = self._numbers_and_lines[2 * place : 2 * place + 2]
            cells = dict(zip(self._places, self._cells[width * place : width * (place + 1)], strict=True))
            yield TableRow(number, line, cells)

    def _numbers(self, row: TableRow) -> NamedTarget:
        return tuple(self._table.number(row, place) for place in self._places)

    def _labels(self, row: TableRow) -> NamedTarget:
        return tuple(sorted(self._table.columns[place] for place in self._places if self._table.flag(row, place)))

    def _label(self, row: TableRow) -> NamedTarget:
        return self._table.label(row, row.cells[self._places[0]])


def _is_integer(cell: str) -> bool:
    return cell.removeprefix("-").isdecimal() and cell.isascii()


def is_number(cell: str) -> bool:
    """Say whether a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
