"""Reads a table of any types in two passes: the schema first, then each row's cells as JSON into the spool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model_store.errors import InvalidExample, InvalidInput, Violation
from model_store.modalities.table.cells import MISSING, number_of
from model_store.modalities.table.columns import CellKind, TableColumn
from model_store.modalities.table.spec import MAX_COLUMNS
from training_service.datasets.columnar.columns import NO_FACTS
from training_service.datasets.columns import Column, ColumnRole, ColumnType
from training_service.datasets.examples import Example, Examples, ReadExamples
from training_service.datasets.files.table_rows import TableRow
from training_service.datasets.files.tables import TABLES, Table
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.reading import Reading
from training_service.datasets.split_names import given_splits
from training_service.datasets.splits import HELD_OUT, Split, SplitSource
from training_service.datasets.tables.roles import Roles, ignored, read_roles
from training_service.datasets.tables.targets import CellTargets
from training_service.modalities.table.facts import ColumnFacts
from training_service.modalities.table.schema import TableSchema, column_of, gathered, inferred

MAX_ROWS = 2_000_000
_SHOWN_FAULTS = 10
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # json.dumps makes one for each row
_TYPES = {
    CellKind.NUMBER: ColumnType.NUMBER,
    CellKind.BOOLEAN: ColumnType.BOOLEAN,
    CellKind.DATE: ColumnType.DATE,
    CellKind.CATEGORY: ColumnType.CATEGORY,
    CellKind.TEXT: ColumnType.TEXT,
}


def read_table(reading: Reading) -> ReadExamples:
    """Return the rows of a table; raise InvalidInput naming the rows and columns that cannot be used."""
    received = reading.received
    if received.format not in TABLES:
        raise InvalidInput.of("modality", "a table comes as one CSV, JSON Lines or Parquet file, not as an archive")
    table = Table(received.table, received.format)
    roles = read_roles(table, reading.asked.roles, reading.parent)
    schema = _schema(table, roles, reading)
    table.detach()
    table = Table(received.table, received.format)
    rows = _Rows(table, roles, schema, reading)
    for row in table.rows():
        reading.check_going_on()
        rows.take(row)
    table.detach()
    return rows.result()


def _schema(table: Table, roles: Roles, reading: Reading) -> TableSchema:
    if not roles.features:
        raise table.refused("must have a column of features besides the target")
    if len(roles.features) > MAX_COLUMNS:
        raise table.refused(f"has {len(roles.features)} columns of features: {MAX_COLUMNS} at most")
    asked = dict(reading.asked.types)
    if unknown := sorted(set(asked) - set(table.columns)):
        raise InvalidInput.of("schema", f"names a column {unknown[0]!r} that the file lacks")
    facts = gathered(table, roles.features)
    if reading.parent is not None:
        return _schema_of(reading.parent, facts)
    stated = {table.columns[place]: kind for place, kind in table.types.items()}
    return inferred(facts, stated, asked)


def _schema_of(parent: DatasetManifest, facts: Mapping[str, ColumnFacts]) -> TableSchema:
    """Return the parent's columns of features, for rows that are appended to it."""
    features = [each for each in parent.columns if each.role is ColumnRole.FEATURE]
    columns = {
        each.name: column_of(each.name, each.type, facts[each.name])
        for each in features
        if each.type is not ColumnType.TEXT
    }
    texts = tuple(TableColumn(each.name, CellKind.TEXT) for each in features if each.type is ColumnType.TEXT)
    return TableSchema(columns, {each.name: facts[each.name] for each in features}, (), texts)


@dataclass
class _Rows:
    """The rows of a table, as far as they were read."""

    table: Table
    roles: Roles
    schema: TableSchema
    reading: Reading

    def __post_init__(self) -> None:
        places = {name: place for place, name in enumerate(self.table.columns)}
        columns = [*self.schema.columns.values(), *self.schema.texts]
        self._features = [(places[each.name], each, each.kind is CellKind.NUMBER) for each in columns]
        self._examples = Examples()
        self._targets = CellTargets(self.table, self.roles.targets)
        self._splits: list[Split | None] = []
        self._faults: list[str] = []

    def take(self, row: TableRow) -> None:
        """Check a row, and keep its cells; a row with a fault is remembered, up to a few."""
        if row.number > MAX_ROWS:
            raise self.table.refused(f"has more than {MAX_ROWS} rows: split it into several datasets")
        try:
            cells = self._cells(row)
            self._check_targets(row)
            self._targets.take(row)
            split = self.table.split(row, self.roles.split) if self.roles.split is not None else None
        except InvalidInput as error:
            self._faults.append(error.violations[0].description)
            if len(self._faults) == _SHOWN_FAULTS:
                raise self._refused() from error
            return
        spooled = self.reading.spool.add(_ENCODER.encode(cells).encode())
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
        used = [*self.schema.columns.values(), *self.schema.texts]
        features = [Column(each.name, _TYPES[each.kind], ColumnRole.FEATURE) for each in used]
        names = {each.name for each in used}
        others = [each for each in self._all_columns(found.type) if each.name not in names]
        return ReadExamples(
            examples,
            task=found.task,
            names=found.names,
            split_source=SplitSource.COLUMN if has_splits else SplitSource.ASSIGNED,
            held_out=held_out,
            columns=(*features, *others),
            remarks=(*self.table.remarks, *self.schema.remarks, *found.remarks),
            observed=self.schema,
        )

    def _all_columns(self, target_type: ColumnType) -> Iterator[Column]:
        """Yield all columns; those of features are ignored where the schema has left them out."""
        for each in self.roles.columns(self.table.columns, target_type):
            yield ignored(each.name) if each.role is ColumnRole.FEATURE else each

    def _cells(self, row: TableRow) -> dict[str, object]:
        """Return the cells that are not missing, by column; raise InvalidInput naming one of another type."""
        cells: dict[str, object] = {}
        for place, column, is_number in self._features:
            cell = row.cells[place]
            if cell in MISSING:
                continue
            number = number_of(cell) if is_number else None
            cells[column.name] = self._cell(row, place, column) if number is None else number
        return cells

    def _cell(self, row: TableRow, place: int, column: TableColumn) -> object:
        cell = row.cells[place]
        if column.kind is CellKind.CATEGORY:
            return cell
        try:
            if column.kind is CellKind.TEXT:
                return column.text(cell)
            number = column.number(cell)
        except InvalidExample as error:
            raise self.table.refused(f"{row.place}, {error}") from error
        if column.kind is CellKind.DATE:
            return cell
        return bool(number) if column.kind is CellKind.BOOLEAN else number

    def _check_targets(self, row: TableRow) -> None:
        for place in self.roles.targets:
            if row.cells[place] in MISSING - {""}:
                text = f"is missing ({row.cells[place]}): leave out rows without a target"
                raise self.table.refused(f"{self.table.cell_place(row, place)}: {text}")

    def _refused(self) -> InvalidInput:
        return InvalidInput(*(Violation(str(self.reading.received.format), fault) for fault in self._faults))
