"""Which column of a table has the texts, which the targets: from the caller, the parent, or by the names and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_store.errors import InvalidInput
from training_service.datasets.columns import Column, ColumnRole, ColumnType
from training_service.datasets.files.samples import UploadSample
from training_service.datasets.files.table_rows import TableRow
from training_service.datasets.files.tables import Table
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.reading import Asked
from training_service.datasets.tables.roles import ignored

_TEXT_NAMES = ("text", "texts", "sentence", "body", "message", "content", "document", "review", "comment", "tweet")
_TARGET_NAMES = ("label", "labels", "target", "class", "category", "sentiment", "topic", "intent", "y")
_SPLIT = "split"
_MIN_WORDS = 3.0
"""The mean number of words in a column of texts; of labels there are fewer."""
_MAX_LABEL_SHARE = 0.5
"""The share of different cells in a column of labels."""


@dataclass(frozen=True)
class TextRoles:
    """The places of the columns that are used."""

    text: int
    targets: tuple[int, ...]
    split: int | None = None
    group: int | None = None

    def columns(self, names: Sequence[str], target_type: ColumnType) -> tuple[Column, ...]:
        """Return all columns, those that are ignored last."""
        others = ((self.split, ColumnRole.SPLIT), (self.group, ColumnRole.GROUP))
        return (
            Column(names[self.text], ColumnType.TEXT, ColumnRole.FEATURE),
            *(Column(names[place], target_type, ColumnRole.TARGET) for place in self.targets),
            *(Column(names[place], ColumnType.TEXT, role) for place, role in others if place is not None),
            *(ignored(name) for place, name in enumerate(names) if place not in self.places),
        )

    @property
    def places(self) -> frozenset[int]:
        """All of them."""
        others = (place for place in (self.split, self.group) if place is not None)
        return frozenset({self.text, *self.targets, *others})


def takes(sample: UploadSample, asked: Asked) -> bool:
    """Say whether an upload is one of texts: files of text, or a table whose one free column has sentences."""
    if sample.paths:
        return any(path.lower().endswith(".txt") for path in sample.paths)
    if any(kind is not ColumnType.TEXT for _, kind in asked.types):
        return False
    roles = dict(asked.roles)
    known = {name for name, role in roles.items() if role is not ColumnRole.FEATURE}
    known |= {name for name in sample.columns if name.lower() == _SPLIT}
    free = [place for place, name in enumerate(sample.columns) if name not in known]
    texts = [place for place in free if num_words(sample.rows, place) >= _MIN_WORDS]
    if ColumnRole.TARGET not in roles.values():
        free = [place for place in free if place in texts or not is_target(sample.columns, sample.rows, place)]
    return len(texts) == 1 and free == texts


def read_roles(
    table: Table, first: Sequence[TableRow], asked: Sequence[tuple[str, ColumnRole]], parent: DatasetManifest | None
) -> TextRoles:
    """Return the uses of a table's columns, guessed by the first rows where the caller names none.

    Raises InvalidInput for columns that the table lacks, and where a guess is impossible.
    """
    if parent is not None:
        if asked:
            raise InvalidInput.of("schema", "must be unset where there is a parent: its columns are used as there")
        asked = [(column.name, column.role) for column in parent.columns if column.name in table.columns]
        if lost := [each.name for each in parent.columns if each.role in _NEEDED and each.name not in table.columns]:
            raise table.refused(f"has no column {lost[0]!r}, which the parent has")
    roles = dict(asked)
    if len(roles) < len(asked):
        raise InvalidInput.of("schema", "names a column twice")
    if unknown := sorted(roles.keys() - set(table.columns)):
        names = ", ".join(map(repr, table.columns[:10]))
        raise InvalidInput.of("schema", f"names a column {unknown[0]!r} that the file lacks; it has {names}")
    for name in table.columns:
        if name.lower() == _SPLIT:
            roles.setdefault(name, ColumnRole.SPLIT)
    return _placed(table, first, roles)


_NEEDED = {ColumnRole.FEATURE, ColumnRole.TARGET}


def _placed(table: Table, first: Sequence[TableRow], roles: Mapping[str, ColumnRole]) -> TextRoles:
    given: dict[ColumnRole, list[int]] = {role: [] for role in ColumnRole}
    for place, name in enumerate(table.columns):
        if name in roles:
            given[roles[name]].append(place)
    free = [place for place, name in enumerate(table.columns) if name not in roles]
    for role in (ColumnRole.FEATURE, ColumnRole.SPLIT, ColumnRole.GROUP):
        if len(given[role]) > 1:
            called = "the texts" if role is ColumnRole.FEATURE else role
            raise InvalidInput.of("schema", f"names {len(given[role])} columns for {called}: there may be one")
    text = given[ColumnRole.FEATURE][0] if given[ColumnRole.FEATURE] else _guessed_text(table, first, free)
    free = [place for place in free if place != text]
    targets = given[ColumnRole.TARGET] or [_guessed_target(table, first, free)]
    split, group = (next(iter(given[role]), None) for role in (ColumnRole.SPLIT, ColumnRole.GROUP))
    return TextRoles(text, tuple(targets), split, group)


def _guessed_text(table: Table, first: Sequence[TableRow], free: Sequence[int]) -> int:
    """Return a column of a usual name, else the one with the most words."""
    if not free:
        raise table.refused("has no column left for the texts: name it as the feature")
    named = [place for place in free if table.columns[place].lower() in _TEXT_NAMES]
    return max(named or free, key=lambda place: num_words(first, place))


def _guessed_target(table: Table, first: Sequence[TableRow], free: Sequence[int]) -> int:
    """Return a column of a usual name, else the last one whose cells recur, else the last one."""
    if not free:
        raise table.refused("has no column left for the target: name one")
    named = [place for place in free if table.columns[place].lower() in _TARGET_NAMES]
    recurring = [place for place in free if is_target(table.columns, first, place)]
    return (named or recurring or list(free))[-1]


def num_words(rows: Sequence[TableRow], place: int) -> float:
    """Return the mean number of words in the cells of a column."""
    return sum(len(row.cells[place].split()) for row in rows) / max(len(rows), 1)


def is_target(columns: Sequence[str], rows: Sequence[TableRow], place: int) -> bool:
    """Say whether a column may be one of targets: by its name, or because few of its cells differ."""
    cells = [row.cells[place] for row in rows]
    return columns[place].lower() in _TARGET_NAMES or len(set(cells)) <= _MAX_LABEL_SHARE * len(cells)
