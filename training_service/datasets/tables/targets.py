"""The targets of a CSV file: the task that their columns make, and the target of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from training_service.datasets.columns import ColumnType
from training_service.datasets.examples import NamedTarget
from training_service.datasets.files.table_rows import TableRow
from training_service.datasets.files.tables import Table

_FLAGS = {"0", "1"}


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
        self._rows: list[TableRow] = []

    def take(self, row: TableRow) -> None:
        """Keep a row's target cells; raise InvalidInput naming an empty one."""
        for place in self._places:
            if not row.cells[place]:
                raise self._table.refused(f"{self._table.cell_place(row, place)}: is empty")
        self._rows.append(replace(row, cells={place: row.cells[place] for place in self._places}))

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
        if all(row.cells[place] in _FLAGS for row in self._rows for place in self._places):
            return "multi_label"
        return "regression"

    def _type(self) -> ColumnType:
        cells = [row.cells[place] for row in self._rows for place in self._places]
        if all(map(_is_integer, cells)):
            return ColumnType.INTEGER
        return ColumnType.NUMBER if all(map(is_number, cells)) else ColumnType.TEXT

    def _all(self, target_of: Callable[[TableRow], NamedTarget]) -> list[NamedTarget]:
        return [target_of(row) for row in self._rows]

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
