"""Reads a table of numbers: each row's features go to the spool as float32, its target says the task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidInput, Violation
from model_store.modalities.values.spec import MAX_SIZE
from training_service.datasets.columnar.columns import NO_FACTS
from training_service.datasets.examples import Example, Examples, ReadExamples
from training_service.datasets.files.table_rows import TableRow
from training_service.datasets.files.tables import MAX_NUMBER, TABLES, Table
from training_service.datasets.reading import Reading
from training_service.datasets.split_names import given_splits
from training_service.datasets.splits import HELD_OUT, Split, SplitSource
from training_service.datasets.tables.roles import Roles, read_roles
from training_service.datasets.tables.targets import CellTargets, is_number
from training_service.modalities.values.summary import ColumnSums

_SHOWN_FAULTS = 10
_ROW_TYPE = np.dtype("<f4")


def read_values(reading: Reading) -> ReadExamples:
    """Return the rows of a table; raise InvalidInput naming the rows and columns that cannot be used."""
    if reading.received.format not in TABLES:
        raise InvalidInput.of(
            "modality", "rows of numbers come as one table (CSV, JSON Lines, Parquet), not as an archive"
        )
    table = Table(reading.received.table, reading.received.format)
    roles = read_roles(table, reading.asked.roles, reading.parent)
    if not roles.features:
        raise table.refused("must have a column of features besides the target")
    if len(roles.features) > MAX_SIZE:
        raise table.refused(f"has {len(roles.features)} columns of features: {MAX_SIZE} at most")
    rows = _Rows(table, roles, reading)
    for row in table.rows():
        reading.check_going_on()
        rows.take(row)
    table.detach()
    return rows.result()


@dataclass
class _Rows:
    """The rows of a table, as far as they were read."""

    table: Table
    roles: Roles
    reading: Reading

    def __post_init__(self) -> None:
        self._examples = Examples()
        self._targets = CellTargets(self.table, self.roles.targets)
        self._splits: list[Split | None] = []
        self._sums = ColumnSums(len(self.roles.features))
        self._faults: list[str] = []

    def take(self, row: TableRow) -> None:
        """Check a row, and keep its numbers; a row with a fault is remembered, up to a few."""
        if row.number > self.reading.max_examples:
            raise self.table.refused(f"has more than {self.reading.max_examples} rows: split it into several datasets")
        try:
            numbers = self._numbers(row)
            self._targets.take(row)
            split = self.table.split(row, self.roles.split) if self.roles.split is not None else None
        except InvalidInput as error:
            self._faults.append(error.violations[0].description)
            if len(self._faults) == _SHOWN_FAULTS:
                raise self._refused() from error
            return
        spooled = self.reading.spool.add(numbers.tobytes())
        self._sums.add(numbers)
        self._splits.append(split)
        group = row.cells[self.roles.group] if self.roles.group is not None else ""
        self._examples.append(
            Example("", row.number, "", split, spooled.offset, spooled.size, spooled.sha256, NO_FACTS, group=group)
        )

    def result(self) -> ReadExamples:
        """Return the examples with the targets that the whole columns make; raise InvalidInput for faults."""
        if self._faults:
            raise self._refused()
        if not self._examples:
            raise self.table.refused("has no rows below the first line")
        found = self._targets.result(self.reading.task)
        has_splits = self.roles.split is not None
        splits, held_out = given_splits(self._splits) if has_splits else (self._splits, HELD_OUT)
        examples = self._examples
        examples.set_targets(found.targets, splits)
        return ReadExamples(
            examples,
            task=found.task,
            names=found.names,
            split_source=SplitSource.COLUMN if has_splits else SplitSource.ASSIGNED,
            held_out=held_out,
            columns=self.roles.columns(self.table.columns, found.type),
            remarks=(*self.table.remarks, *_header_remarks(self.table.columns), *found.remarks),
            observed=self._sums,
        )

    def _numbers(self, row: TableRow) -> NDArray[np.float32]:
        """Return a row's features, float32 little endian; raise InvalidInput naming the first that is no number."""
        cells = [row.cells[place] for place in self.roles.features]
        try:
            numbers = np.array([float(cell) for cell in cells])
        except ValueError:
            numbers = np.array([math.nan])
        if not (np.abs(numbers) <= MAX_NUMBER).all() or "_" in "".join(cells):
            numbers = np.array([self.table.number(row, place) for place in self.roles.features])
        return numbers.astype(_ROW_TYPE)

    def _refused(self) -> InvalidInput:
        return InvalidInput(*(Violation(str(self.reading.received.format), fault) for fault in self._faults))


def _header_remarks(columns: Sequence[str]) -> tuple[str, ...]:
    """Remark on a header that may be a row: names of columns are numbers now and then, as of wavelengths."""
    if not all(map(is_number, columns)):
        return ()
    first = ", ".join(columns[:_SHOWN_FAULTS])
    return (
        f"the first row, {first}, was taken for the names of the columns: if it is data, put a row of names before it",
    )
