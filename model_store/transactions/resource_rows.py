"""Finds rows of models, versions, aliases and datasets inside a transaction, or raises the reason for a missing one."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Select, and_, func, select, tuple_
from sqlalchemy.orm import Session, selectinload

from model_store.errors import (
    AliasNotFound,
    Conflict,
    DatasetNotFound,
    IllegalState,
    ModelNotFound,
    VersionNotFound,
)
from model_store.names import AliasName, VersionName, dataset_name, model_name
from model_store.tables import AliasMoveRow, AliasRow, DatasetRow, JobRow, ModelRow, VersionRow
from model_store.texts import quoted

WHOLE_VERSION = tuple(
    selectinload(part) for part in (VersionRow.blobs, VersionRow.aliases, VersionRow.tags, VersionRow.metric_values)
)
"""Options of a query that read all parts of its versions in a statement each, not in one for each version."""


def model_row(session: Session, model_id: str, *, lock: bool = False) -> ModelRow:
    """Return a model, deleted ones included; raise ModelNotFound."""
    row = session.get(ModelRow, model_id, with_for_update=True if lock else None)
    if row is None or row.is_purged:
        raise ModelNotFound(f"{model_name(model_id)} does not exist; `maas models` lists those that do")
    return row


def living_model_row(session: Session, model_id: str, *, lock: bool = False) -> ModelRow:
    """Return a model; raise ModelNotFound, or IllegalState where it was deleted."""
    row = model_row(session, model_id, lock=lock)
    if row.deleted_at is not None:
        raise IllegalState(f"{model_name(model_id)} was deleted: undelete it first")
    return row


def version_row(session: Session, name: VersionName) -> VersionRow:
    """Return a version, deleted ones included; raise ModelNotFound or VersionNotFound."""
    model_row(session, name.model_id)
    row = session.get(VersionRow, (name.model_id, name.number))
    if row is None:
        raise VersionNotFound(f"{name} does not exist; `maas versions {name.model_id}` lists those that do")
    return row


def versions_named(names: Collection[VersionName]) -> Select[VersionRow]:
    """Select these versions, deleted ones included, with all parts of their records; missing ones are left out."""
    pairs = [(name.model_id, name.number) for name in names]
    return select(VersionRow).where(tuple_(VersionRow.model_id, VersionRow.number).in_(pairs)).options(*WHOLE_VERSION)


def living_version_row(session: Session, name: VersionName) -> VersionRow:
    """Return a version; raise ModelNotFound or VersionNotFound, or IllegalState where it was deleted."""
    living_model_row(session, name.model_id)
    row = version_row(session, name)
    if row.deleted_at is not None:
        raise IllegalState(f"{name} was deleted: undelete it first")
    return row


def dataset_row(session: Session, dataset_id: str) -> DatasetRow:
    """Return a dataset, deleted ones included; raise DatasetNotFound."""
    row, name = session.get(DatasetRow, dataset_id), dataset_name(dataset_id)
    if row is None:
        raise DatasetNotFound(f"{name} does not exist; `maas datasets` lists those that do")
    if row.is_purged:
        raise DatasetNotFound(f"{name}, of digest {row.digest}, was deleted and purged: upload the same again")
    return row


def living_dataset_row(session: Session, dataset_id: str) -> DatasetRow:
    """Return a dataset; raise DatasetNotFound, or IllegalState where it was deleted."""
    row = dataset_row(session, dataset_id)
    if row.deleted_at is not None:
        raise IllegalState(f"{dataset_name(dataset_id)} was deleted: undelete it first")
    return row


def newest_living(session: Session, model_id: str) -> VersionName:
    """Return a model's newest version that was not deleted; raise ModelNotFound, IllegalState or VersionNotFound."""
    living_model_row(session, model_id)
    living = and_(VersionRow.model_id == model_id, VersionRow.deleted_at.is_(None))
    number = session.scalar(select(func.max(VersionRow.number)).where(living))
    if number is None:
        raise VersionNotFound(f"{model_name(model_id)} has no versions: publish one, or fine-tune into it")
    return VersionName(model_id, number)


def alias_row(session: Session, name: AliasName) -> AliasRow:
    """Return an alias; raise AliasNotFound."""
    row = session.get(AliasRow, (name.model_id, name.alias))
    if row is None:
        raise AliasNotFound(f"{name} does not exist; `maas models` lists the aliases that do")
    return row


def moves_of(name: AliasName) -> Select[AliasMoveRow]:
    """Select the history of an alias."""
    return select(AliasMoveRow).where(AliasMoveRow.model_id == name.model_id, AliasMoveRow.alias == name.alias)


def living_children(session: Session, model_id: str, number: int | None = None) -> tuple[VersionName, ...]:
    """Return a few active versions made from this version; without a number, from any version of the model.

    For a whole model its own versions do not count, because they are deleted with it.
    """
    made_from = [VersionRow.base_model_id == model_id, VersionRow.deleted_at.is_(None)]
    made_from.append(VersionRow.base_number == number if number is not None else VersionRow.model_id != model_id)
    query = select(VersionRow).where(*made_from).order_by(VersionRow.model_id, VersionRow.number).limit(_SHOWN + 1)
    return tuple(row.name for row in session.scalars(query))


_SHOWN = 5


def shown(names: tuple[object, ...]) -> str:
    """Return the names of the first few resources, and whether there are more."""
    return ", ".join(str(name) for name in names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")


def check_etag(row: ModelRow | VersionRow | AliasRow | DatasetRow | JobRow, name: object, etag: str | None) -> None:
    """Raise Conflict where the etag is not the resource's current one; without an etag, check nothing."""
    if etag and etag != str(row.revision):
        raise Conflict(
            f"{name} was changed meanwhile (its etag is {row.revision}, not {quoted(etag)}): read it again, then decide"
        )
