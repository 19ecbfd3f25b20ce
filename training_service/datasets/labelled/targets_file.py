"""A file with the targets of the examples beside it: `labels.csv`, or `targets.csv` with numbers."""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from model_store.normal_form import normal_form
from training_service.datasets.examples import NamedTarget
from training_service.datasets.files.table_rows import TableRow
from training_service.datasets.files.tables import Table
from training_service.datasets.labelled.table_files import LABELS_FILE, TARGETS_FILE, refused
from training_service.datasets.splits import Split

_FILE_COLUMNS = ("file", "path", "filename")
_SPLIT_COLUMN = "split"
_LIST_COLUMN, _LABEL_COLUMN = "labels", "label"
_LIST_SEPARATORS = re.compile(r"[|;]")


@dataclass(frozen=True)
class TargetsFile:
    """The content of the file: the task, the names of its labels or targets, and target, split and group of each path.

    A file that lists labels by row has no names: its labels are the ones that occur.
    """

    name: str
    task: str
    names: tuple[str, ...]
    targets: Mapping[str, NamedTarget]
    splits: Mapping[str, Split]
    groups: Mapping[str, str]


def choose_targets_file(
    files: Mapping[str, bytes], around: str, task: str, noun: str, groups: Sequence[str] = ()
) -> TargetsFile | None:
    """Read the targets file of this task, of those that an archive holds; None if the task needs none.

    `task` is the requested task, or empty; `noun` is the name of one example. The first of `groups` that is a column
    names the group of each example. Raises InvalidInput if the files contradict each other or the task.
    """
    columns = _Columns(noun, groups)
    read = partial(_read, columns)
    found = {name: files.get(f"{around}{name}", files.get(name)) for name in (LABELS_FILE, TARGETS_FILE)}
    labels, targets = found[LABELS_FILE], found[TARGETS_FILE]
    if labels is not None and targets is not None and not task:
        raise refused(f"has both {LABELS_FILE} and {TARGETS_FILE}: say which task it is for, or leave one of them out")
    if task == "regression" and targets is None:
        raise refused(f"has no {TARGETS_FILE}, which regression needs: a column file, and one for each target")
    if task == "multi_label" and labels is None:
        raise refused(
            f"has no {LABELS_FILE}, which multi_label needs: a column file, and one of 0 and 1 for each label"
        )
    if targets is not None and task in {"", "regression"}:
        return read(TARGETS_FILE, targets, _numbers)
    if labels is not None and not task and _has_one_label(labels, columns, by_rows=True):
        return read(LABELS_FILE, labels, _one_label)
    if labels is not None and task in {"", "multi_label"}:
        return read(LABELS_FILE, labels, _labels)
    if labels is not None and _has_one_label(labels, columns):
        return read(LABELS_FILE, labels, _one_label)
    return None


@dataclass(frozen=True)
class _Columns:
    """The columns of such a file that are no targets: the first names the file of an example, called a `noun`."""

    noun: str
    groups: Sequence[str]

    def name_file(self, name: str) -> bool:
        return name.lower() in {*_FILE_COLUMNS, self.noun}

    def others(self, table: Table) -> tuple[int, int, list[int]]:
        """Return the places of the split and of the group, 0 where there is none, and those of the targets."""
        split, group = (self._place(table, names) for names in ((_SPLIT_COLUMN,), self.groups))
        targets = [place for place in range(1, len(table.columns)) if place not in {split, group}]
        return split, group, targets

    def _place(self, table: Table, names: Sequence[str]) -> int:
        return next((place for name in names for place, each in enumerate(table.columns) if place and each == name), 0)


_Reader = Callable[[Table, Sequence[int]], tuple[str, tuple[str, ...], Callable[[TableRow], NamedTarget]]]


def _read(columns: _Columns, name: str, data: bytes, reader: _Reader) -> TargetsFile:
    """Read every row of a table, whose first column names the file; `reader` reads the others."""
    table = Table(io.BytesIO(data), name=name, field="archive")
    if not columns.name_file(table.columns[0]) or len(table.columns) < 2:
        raise table.refused(f"the first column must be file, the path of the {columns.noun}, and others must follow")
    split, group, places = columns.others(table)
    task, names, target_of = reader(table, places)
    targets: dict[str, NamedTarget] = {}
    splits: dict[str, Split] = {}
    groups: dict[str, str] = {}
    for row in table.rows():
        path = normal_form(posixpath.normpath(row.cells[0].replace("\\", "/")))
        if path in targets:
            raise table.refused(f"{row.place} names {path[:200]!r} a second time")
        targets[path] = target_of(row)
        if split:
            splits[path] = table.split(row, split)
        if group:
            groups[path] = row.cells[group]
    return TargetsFile(name, task, names, targets, splits, groups)


def _numbers(table: Table, places: Sequence[int]) -> tuple[str, tuple[str, ...], Callable[[TableRow], NamedTarget]]:
    def target_of(row: TableRow) -> NamedTarget:
        return tuple(table.number(row, place) for place in places)

    return "regression", tuple(table.columns[place] for place in places), target_of


def _labels(table: Table, places: Sequence[int]) -> tuple[str, tuple[str, ...], Callable[[TableRow], NamedTarget]]:
    """Read a column of 0 and 1 for each label, or one column `labels` with a list."""
    names = tuple(table.columns[place] for place in places)
    if len(places) == 1 and names[0].lower() in {_LIST_COLUMN, _LABEL_COLUMN}:
        return "multi_label", (), lambda row: _listed(table, row, places[0])

    def target_of(row: TableRow) -> NamedTarget:
        return tuple(sorted(name for name, place in zip(names, places, strict=True) if table.flag(row, place)))

    return "multi_label", names, target_of


def _one_label(table: Table, places: Sequence[int]) -> tuple[str, tuple[str, ...], Callable[[TableRow], NamedTarget]]:
    return "classification", (), lambda row: table.label(row, row.cells[places[0]])


def _has_one_label(data: bytes, columns: _Columns, *, by_rows: bool = False) -> bool:
    """Say whether a table has one column for labels; `by_rows`, whether that is `label`, and no cell is a list."""
    table = Table(io.BytesIO(data), name=LABELS_FILE, field="archive")
    _, _, others = columns.others(table)
    if not columns.name_file(table.columns[0]) or len(others) != 1:
        return False
    (place,) = others
    if by_rows:
        is_label = table.columns[place].lower() == _LABEL_COLUMN
        return is_label and all(len(_parts(row.cells[place])) == 1 for row in table.rows())
    return table.columns[place].lower() in {_LABEL_COLUMN, _LIST_COLUMN}


def _listed(table: Table, row: TableRow, place: int) -> tuple[str, ...]:
    return tuple(sorted(table.label(row, part) for part in _parts(row.cells[place])))


def _parts(cell: str) -> set[str]:
    return {normal_form(part.strip()) for part in _LIST_SEPARATORS.split(cell)} - {""}
