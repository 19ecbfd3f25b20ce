"""The schema of a table: the type of each feature column as the caller says, else as its file or its cells say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter

from model_store.errors import InvalidInput
from model_store.modalities.table.columns import MAX_BUCKETS, CellKind, TableColumn
from model_store.texts import listed
from training_service.datasets.columns import ColumnType
from training_service.datasets.files.table_rows import CellType, TableRow
from training_service.datasets.files.tables import Table
from training_service.modalities.table.facts import ColumnFacts

MAX_LISTED = 200
"""The most categories that a version knows by name; of more, all are hashed."""
_ROWS_AT_ONCE = 2048
_SHOWN = 10
_MAX_SHARE = 0.5  # of distinct texts among the rows: above it a column names its rows, or is free text
_MIN_ROWS = 50  # of fewer rows, a share of distinct texts says little
_LONG_TEXT = 40  # characters on average: sentences, not categories
_IDENTIFIERS = re.compile(r"(?:id|.*[_ -]id|index|row|rownames?|row[_ -]?number|unnamed: ?\d+)", re.IGNORECASE)
_STATED = {
    CellType.BOOLEAN: ColumnType.BOOLEAN,
    CellType.DATE: ColumnType.DATE,
    CellType.NUMBER: ColumnType.NUMBER,
    CellType.INTEGER: ColumnType.NUMBER,
}
_KINDS = {
    ColumnType.NUMBER: CellKind.NUMBER,
    ColumnType.INTEGER: CellKind.NUMBER,
    ColumnType.BOOLEAN: CellKind.BOOLEAN,
    ColumnType.DATE: CellKind.DATE,
    ColumnType.CATEGORY: CellKind.CATEGORY,
}


@dataclass(frozen=True)
class TableSchema:
    """The feature columns that are used, by name in order, with their types and facts; remarks on the others.

    `texts` are the columns of text, which are kept for versions that read one by an encoder, with their facts.
    """

    columns: Mapping[str, TableColumn]
    facts: Mapping[str, ColumnFacts]
    remarks: tuple[str, ...]
    texts: tuple[TableColumn, ...] = ()


def gathered(table: Table, places: Sequence[int]) -> dict[str, ColumnFacts]:
    """Return the facts of these columns, over all rows of a table."""
    facts = {place: ColumnFacts() for place in places}
    for rows in _chunks(table.rows()):
        cells = [row.cells for row in rows]
        for place, each in facts.items():
            each.add(list(map(itemgetter(place), cells)))
    return {table.columns[place]: each for place, each in facts.items()}


def inferred(
    facts: Mapping[str, ColumnFacts], stated: Mapping[str, CellType], asked: Mapping[str, ColumnType]
) -> TableSchema:
    """Return the schema; `stated` are the types that the file states, `asked` those of the caller.

    Raise InvalidInput where no column is left.
    """
    columns: dict[str, TableColumn] = {}
    remarks: list[str] = []
    ignored: dict[str, list[str]] = {}
    for name, each in facts.items():
        kind = asked.get(name) or _type_of(name, each, stated.get(name))
        if isinstance(kind, str) and kind in _REASONS:
            ignored.setdefault(kind, []).append(name)
        elif kind is ColumnType.TEXT:
            ignored.setdefault(_TEXT, []).append(name)
        else:
            columns[name] = column_of(name, ColumnType(kind), each)
    for reason, names in ignored.items():
        remarks.append(f"{_REASONS[reason]}: {listed([*map(repr, names)], _SHOWN)}")
    if hashed := [f"{each.name!r} ({facts[each.name].num_distinct})" for each in columns.values() if each.buckets]:
        remarks.append(f"columns with many categories are hashed into a fixed number: {listed(hashed, _SHOWN)}")
    if not columns:
        raise InvalidInput.of("schema", "leaves no column of features: " + "; ".join(remarks))
    texts = tuple(TableColumn(name, CellKind.TEXT) for name in ignored.get(_TEXT, ()))
    return TableSchema(columns, facts, tuple(remarks), texts)


def column_of(name: str, kind: ColumnType, facts: ColumnFacts) -> TableColumn:
    """Return a column of a type; categories are in the order of their texts."""
    cell_kind = _KINDS[kind]
    if cell_kind is not CellKind.CATEGORY:
        return TableColumn(name, cell_kind)
    if facts.counts is not None and len(facts.counts) <= MAX_LISTED:
        return TableColumn(name, cell_kind, tuple(sorted(facts.counts)))
    return TableColumn(name, cell_kind, buckets=_num_buckets(facts.num_distinct))


def _num_buckets(num_distinct: int) -> int:
    """Return a power of two of about half the categories, 256 to 4096: features of a linear head must stay few."""
    return min(MAX_BUCKETS, 4096, max(256, 1 << (num_distinct // 2).bit_length()))


_MISSING, _IDENTIFIER, _TEXT = "missing", "identifier", "text"
_REASONS = {
    _MISSING: "columns without any cell that is not missing are ignored",
    _IDENTIFIER: "columns that number the rows are ignored (say their type to use them)",
    _TEXT: "columns of text, whose cells hardly repeat, are used only with a text base (or say type category)",
}


def _type_of(name: str, facts: ColumnFacts, stated: CellType | None) -> str | ColumnType:
    """Return the type of a column, or the reason why it is ignored."""
    if not facts.num_present:
        return _MISSING
    if facts.is_integer and facts.num_distinct == facts.num_present > _MIN_ROWS and _IDENTIFIERS.fullmatch(name):
        return _IDENTIFIER
    if stated in _STATED or (stated is None and facts.is_number):
        return _STATED[stated or CellType.NUMBER]
    if facts.is_boolean or facts.is_date:
        return ColumnType.BOOLEAN if facts.is_boolean else ColumnType.DATE
    is_long = facts.text_length > _LONG_TEXT * facts.num_present
    many = facts.num_present > _MIN_ROWS and facts.num_distinct > _MAX_SHARE * facts.num_present
    return _TEXT if many or is_long or facts.counts is None else ColumnType.CATEGORY


def _chunks(rows: Iterator[TableRow]) -> Iterator[list[TableRow]]:
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        yield chunk
