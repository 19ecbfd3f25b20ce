"""The registry's view for a serving process: any number of models in a few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Select, and_, func, select, tuple_

from model_store.database.engine import Database
from model_store.names import VersionName
from model_store.records.aliases import Alias
from model_store.records.resources import StoredCalibration
from model_store.tables import CALIBRATION_COLUMNS, AliasRow, ModelRow, VersionRow, stored_calibration


@dataclass
class ServableModel:
    """One living model: its aliases, its newest versions, newest first, and manifest digests of living versions."""

    aliases: list[Alias] = field(default_factory=list)
    newest: list[VersionName] = field(default_factory=list)
    digests: dict[VersionName, str] = field(default_factory=dict)


class ServingView:
    """Reads living models and versions; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def models(
        self, num_newest: int, named: Iterable[VersionName] = (), only: Collection[str] | None = None
    ) -> dict[str, ServableModel]:
        """Return every model that has a version, by id, in three statements for any number of models.

        `newest` limits the newest versions of each. The result has the digests of these versions, of the versions that
        aliases use, and of the `named` versions. `only` leaves all other models out.
        """
        chosen = [] if only is None else [VersionRow.model_id.in_(only)]
        with self._database.read() as session:
            newest = session.execute(_newest(num_newest, chosen)).all()
            aliased = session.execute(_aliased(chosen)).all()
            pairs = [(name.model_id, name.number) for name in named]
            pairs += [(row.model_id, share.number) for row, _ in aliased for share in row.target.traffic.shares]
            is_named = tuple_(VersionRow.model_id, VersionRow.number).in_(pairs)
            others = session.execute(_living(*chosen, is_named)).all() if pairs else []
        found: defaultdict[str, ServableModel] = defaultdict(ServableModel)
        for model_id, number, digest in (*newest, *others):
            found[model_id].digests[VersionName(model_id, number)] = digest
        for model_id, number, _ in newest:
            found[model_id].newest.append(VersionName(model_id, number))
        for alias, digest in ((row.record(), digest) for row, digest in aliased):
            found[alias.name.model_id].aliases.append(alias)
            found[alias.name.model_id].digests[alias.version] = digest
        return dict(found)

    def calibration(self, name: VersionName) -> StoredCalibration | None:
        """Return the calibration of a version, in one statement; None without one, or for a missing version."""
        living = _living(VersionRow.model_id == name.model_id, VersionRow.number == name.number)
        chosen = living.with_only_columns(*CALIBRATION_COLUMNS)
        with self._database.read() as session:
            values = session.execute(chosen).one_or_none()
        return stored_calibration(values) if values is not None else None


def _living(*conditions: ColumnElement[bool]) -> Select[str, int, str]:
    return (
        select(VersionRow.model_id, VersionRow.number, VersionRow.manifest_digest)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(ModelRow.deleted_at.is_(None), VersionRow.deleted_at.is_(None), *conditions)
    )


def _newest(num_newest: int, conditions: Iterable[ColumnElement[bool]]) -> Select[str, int, str]:
    place = func.row_number().over(partition_by=VersionRow.model_id, order_by=VersionRow.number.desc())
    ranked = _living(*conditions).add_columns(place.label("place")).subquery()
    columns = ranked.c
    return (
        select(columns.model_id, columns.number, columns.manifest_digest)
        .where(columns.place <= num_newest)
        .order_by(columns.model_id, columns.place)
    )


def _aliased(conditions: Iterable[ColumnElement[bool]]) -> Select[AliasRow, str]:
    points_at = and_(VersionRow.model_id == AliasRow.model_id, VersionRow.number == AliasRow.number)
    return (
        select(AliasRow, VersionRow.manifest_digest)
        .join(VersionRow, points_at)
        .join(ModelRow, ModelRow.id == AliasRow.model_id)
        .where(ModelRow.deleted_at.is_(None), *conditions)
        .order_by(AliasRow.model_id, AliasRow.alias)
    )
