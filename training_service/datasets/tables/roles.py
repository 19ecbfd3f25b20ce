"""The use of each column of a CSV file: from the caller, else from the parent, else from its position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from model_store.errors import InvalidInput
from training_service.datasets.columns import Column, ColumnRole, ColumnType
from training_service.datasets.files.samples import UploadSample
from training_service.datasets.files.tables import Table
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.reading import Asked
from training_service.datasets.tables.targets import is_number

_SPLIT = "split"
_SHOWN = 10
_NUMBERS = {ColumnType.NUMBER, ColumnType.INTEGER}


@dataclass(frozen=True)
class Roles:
    """The places of the columns of each role, in the order in which their numbers are kept."""

    features: tuple[int, ...]
    targets: tuple[int, ...]
    split: int | None
    group: int | None

    def columns(self, names: Sequence[str], target_type: ColumnType) -> tuple[Column, ...]:
        """Return all columns: features, targets, split and group, then those that are ignored."""
        return tuple(
            [Column(names[place], ColumnType.NUMBER, ColumnRole.FEATURE) for place in self.features]
            + [Column(names[place], target_type, ColumnRole.TARGET) for place in self.targets]
            + [Column(names[place], ColumnType.TEXT, role) for place, role in self._others()]
            + [ignored(name) for place, name in enumerate(names) if place not in self._used]
        )

    @property
    def _used(self) -> frozenset[int]:
        return frozenset({*self.features, *self.targets, *(place for place, _ in self._others())})

    def _others(self) -> Iterator[tuple[int, ColumnRole]]:
        for place, role in ((self.split, ColumnRole.SPLIT), (self.group, ColumnRole.GROUP)):
            if place is not None:
                yield place, role


def ignored(name: str) -> Column:
    """Return a column that is not used, and whose cells nobody looked at."""
    return Column(name, ColumnType.UNSPECIFIED, ColumnRole.IGNORED)


def takes(sample: UploadSample, asked: Asked) -> bool:
    """Say whether all features of a table are numbers, and none is missing or stated to be something else."""
    if not {kind for _, kind in asked.types} <= _NUMBERS:
        return False
    roles = dict(asked.roles)
    others = [name for name in sample.columns if name not in roles and name.lower() != _SPLIT]
    if ColumnRole.TARGET not in roles.values():
        others = others[:-1]
    features = {*others, *(name for name, role in roles.items() if role is ColumnRole.FEATURE)}
    places = [place for place, name in enumerate(sample.columns) if name in features]
    return all(is_number(row.cells[place]) for row in sample.rows for place in places)


def _there_are(name: str, columns: Sequence[str]) -> str:
    """Name the first columns, and the column with the nearest name to an unknown one."""
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    near = get_close_matches(name, columns, 1)
    asked = f"; do you mean {near[0]!r}?" if near else ""
    return f"{', '.join(map(repr, columns[:_SHOWN]))}{more}{asked}"


def read_roles(table: Table, asked: Sequence[tuple[str, ColumnRole]], parent: DatasetManifest | None) -> Roles:
    """Return the uses of a table's columns; raise InvalidInput for impossible ones.

    Without the caller's choice the last column is the target, a column `split` names splits, and all others are
    features. An appended table has the parent's features and targets, at any positions.
    """
    if parent is not None:
        return _roles_of(table, parent, asked)
    roles = dict(asked)
    if len(roles) < len(asked):
        raise InvalidInput.of("schema", "names a column twice")
    if unknown := sorted(roles.keys() - set(table.columns)):
        text = f"names a column {unknown[0]!r} that the file lacks; it has {_there_are(unknown[0], table.columns)}"
        raise InvalidInput.of("schema", text)
    for name in table.columns:
        if name.lower() == _SPLIT:
            roles.setdefault(name, ColumnRole.SPLIT)
    if ColumnRole.TARGET not in roles.values():
        free = [name for name in table.columns if name not in roles]
        if not free:
            raise table.refused("has no column left for the target: name one as the target, or leave one without a use")
        roles[free[-1]] = ColumnRole.TARGET
    return _placed(table, roles)


def _roles_of(table: Table, parent: DatasetManifest, asked: Sequence[tuple[str, ColumnRole]]) -> Roles:
    if asked:
        raise InvalidInput.of("schema", "must be unset where there is a parent: its columns are used as they are there")
    roles = {column.name: column.role for column in parent.columns if column.role in _KEPT}
    if lost := [name for name in roles if name not in table.columns]:
        raise table.refused(f"has no column {lost[0]!r}, which the parent has")
    optional = {column.name: column.role for column in parent.columns if column.role not in _KEPT}
    return _placed(table, {**dict.fromkeys(table.columns, ColumnRole.IGNORED), **optional, **roles}, list(roles))


_KEPT = {ColumnRole.FEATURE, ColumnRole.TARGET}


def _placed(table: Table, roles: Mapping[str, ColumnRole], order: Sequence[str] = ()) -> Roles:
    """Return the places of columns; columns in `order` come in it."""
    found: dict[ColumnRole, list[int]] = {role: [] for role in ColumnRole}
    places = {name: place for place, name in enumerate(table.columns)}
    for name in order or table.columns:
        found[roles.get(name, ColumnRole.FEATURE)].append(places[name])
    if order:
        for name in table.columns:
            if (role := roles[name]) not in _KEPT:
                found[role].append(places[name])
    single = {}
    for role in (ColumnRole.SPLIT, ColumnRole.GROUP):
        if len(found[role]) > 1:
            raise InvalidInput.of("schema", f"names {len(found[role])} columns for {role}: there may be one")
        single[role] = found[role][0] if found[role] else None
    return Roles(
        tuple(found[ColumnRole.FEATURE]),
        tuple(found[ColumnRole.TARGET]),
        single[ColumnRole.SPLIT],
        single[ColumnRole.GROUP],
    )
