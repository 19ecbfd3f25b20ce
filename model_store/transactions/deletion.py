"""Deletion in two steps: a deleted resource is hidden and can be undeleted; after its retention time it is purged.

A resource in use cannot be deleted: a version that an alias points at or splits traffic to, that an active version was
made from, or that an unfinished job starts from; a dataset that an unfinished job trains on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session, aliased, selectinload

from model_store.errors import IllegalState
from model_store.names import VersionName, dataset_name, job_name, model_name
from model_store.records.changes import ChangeKind
from model_store.records.job_lifecycle import ENDED
from model_store.tables import AliasRow, DatasetRow, JobRow, ModelRow, VersionRow
from model_store.transactions.aliases import end_alias
from model_store.transactions.changes import append_change, take_writer_lock
from model_store.transactions.resource_rows import living_children, living_version_row, model_row, shown

KEPT_FOR = timedelta(days=30)
TRIAL_KEPT_FOR = timedelta(days=7)
"""How long the version of a trial is kept: it is hidden from its publication on, and can be undeleted."""


def delete_version(session: Session, row: VersionRow, kept_for: timedelta) -> None:
    """Hide a version; raise IllegalState naming the resources that use it. The caller holds the writer lock."""
    aliases = _aliases_of(session, row)
    names = tuple(alias.name for alias in aliases if alias.number == row.number)
    _refuse(row.name, "is what {} points at: point it elsewhere, or delete it", names)
    names = tuple(alias.name for alias in aliases)
    _refuse(row.name, "is a canary or the shadow of {}: set that alias again without it, or delete it", names)
    children = living_children(session, row.model_id, row.number)
    _refuse(row.name, "is the base of {}: delete those first", children)
    _refuse(
        row.name, "is the base of unfinished jobs, {}: cancel those first", _jobs(session, row.model_id, row.number)
    )
    _hide(row, datetime.now(UTC), kept_for)
    append_change(session, ChangeKind.VERSION_DELETED, row.name)


def hide_trial(session: Session, row: VersionRow) -> None:
    """Hide the version of a trial: the search publishes the best one again. The caller holds the writer lock."""
    _hide(row, datetime.now(UTC), TRIAL_KEPT_FOR)
    append_change(session, ChangeKind.VERSION_DELETED, row.name)


def undelete_version(session: Session, row: VersionRow) -> None:
    """Undelete a version; raise IllegalState where its model or its base is deleted."""
    if model_row(session, row.model_id).deleted_at is not None:
        raise IllegalState(f"{model_name(row.model_id)} was deleted: undelete it first")
    if row.base_model_id is not None and row.base_number is not None:
        living_version_row(session, VersionName(row.base_model_id, row.base_number))
    _show(row)
    append_change(session, ChangeKind.VERSION_UNDELETED, row.name)


def delete_model(session: Session, row: ModelRow, kept_for: timedelta, *, force: bool) -> None:
    """Hide a model and, with `force`, its versions; raise IllegalState naming the resources that use them."""
    name = model_name(row.id)
    living = _living_versions(session, row)
    if living and not force:
        names = tuple(version.name for version in living)
        _refuse(name, "has versions, {}: delete those first, or delete with force", names)
    _refuse(name, "has bases of {}: delete those first", living_children(session, row.id))
    _refuse(name, "is what unfinished jobs are about, {}: cancel those first", _jobs(session, row.id))
    now = datetime.now(UTC)
    _hide(row, now, kept_for)
    for version in living:
        _hide(version, now, kept_for)
    append_change(session, ChangeKind.MODEL_DELETED, name)


def undelete_model(session: Session, row: ModelRow) -> None:
    """Undelete a model, with the versions that were deleted with it."""
    together = and_(VersionRow.model_id == row.id, VersionRow.deleted_at == row.deleted_at)
    for version in session.scalars(select(VersionRow).where(together).order_by(VersionRow.number)):
        if version.base_model_id not in {None, row.id} and version.base_number is not None:
            living_version_row(session, VersionName(str(version.base_model_id), version.base_number))
        _show(version)
    _show(row)
    append_change(session, ChangeKind.MODEL_UNDELETED, model_name(row.id))


def delete_dataset(session: Session, row: DatasetRow, kept_for: timedelta) -> None:
    """Hide a dataset; raise IllegalState naming the jobs that use it. The caller holds the writer lock."""
    name, on_it = dataset_name(row.id), JobRow.dataset_id == row.id
    jobs = session.scalars(select(JobRow.id).where(JobRow.state.not_in(ENDED), on_it).order_by(JobRow.id))
    _refuse(name, "is what unfinished jobs train on, {}: cancel those first", tuple(map(job_name, jobs)))
    row.deleted_at = datetime.now(UTC)
    row.purge_at = row.deleted_at + kept_for
    row.revision += 1
    append_change(session, ChangeKind.DATASET_DELETED, name)


def undelete_dataset(session: Session, row: DatasetRow) -> None:
    """Undelete a dataset; raise IllegalState where it was not deleted."""
    if row.deleted_at is None:
        raise IllegalState(f"{dataset_name(row.id)} was not deleted")
    row.deleted_at = row.purge_at = None
    row.revision += 1
    append_change(session, ChangeKind.DATASET_UNDELETED, dataset_name(row.id))


def purge(session: Session, now: datetime, at_once: int | None = None) -> tuple[str, ...]:
    """Remove deleted resources that are due, and return their names; the collector removes their blobs.

    A version stays while another version, deleted or not, was made from it; a model stays while it has versions.
    `at_once` bounds the number of each kind in one transaction: call it until it returns none.
    """
    models = _lock_models_with_due(session, now)
    take_writer_lock(session)
    child = aliased(VersionRow)
    made_from_it = exists().where(child.base_model_id == VersionRow.model_id, child.base_number == VersionRow.number)
    rows = selectinload(VersionRow.blobs), selectinload(VersionRow.tags), selectinload(VersionRow.metric_values)
    is_due = and_(VersionRow.model_id.in_(models), VersionRow.purge_at <= now)
    query = select(VersionRow).where(is_due, ~made_from_it).options(*rows)
    names: list[str] = []
    while ready := list(session.scalars(query.limit(None if at_once is None else at_once - len(names)))):
        for version in ready:
            _remove(session, version)
        session.flush()
        names += [str(version.name) for version in ready]
    is_empty = ~exists().where(VersionRow.model_id == ModelRow.id)
    empty = and_(ModelRow.id.in_(models), ModelRow.purge_at <= now, ModelRow.is_purged.is_(False), is_empty)
    for model in session.scalars(select(ModelRow).where(empty).limit(at_once)):
        model.is_purged, model.tags, model.description = True, [], ""
        names.append(model_name(model.id))
    is_due = and_(DatasetRow.purge_at <= now, DatasetRow.is_purged.is_(False))
    for dataset in session.scalars(select(DatasetRow).where(is_due).limit(at_once)):
        dataset.is_purged, dataset.packs, dataset.summary = True, [], {}
        dataset.revision += 1
        names.append(dataset_name(dataset.id))
    for name in names:
        append_change(session, ChangeKind.PURGED, name)
    return tuple(names)


def due(session: Session, now: datetime) -> tuple[frozenset[VersionName], frozenset[str]]:
    """Return the names of the versions, and the ids of the models, that `purge` would remove now."""
    child, is_due = aliased(VersionRow), VersionRow.purge_at <= now
    columns = VersionRow.model_id, VersionRow.number, VersionRow.base_model_id, VersionRow.base_number
    rows = session.execute(select(*columns).where(is_due))
    bases = {VersionName(model_id, number): (base_id, base) for model_id, number, base_id, base in rows}
    made_from_it = and_(child.base_model_id == VersionRow.model_id, child.base_number == VersionRow.number)
    stays = or_(child.purge_at.is_(None), child.purge_at > now)
    held = session.execute(select(*columns[:2]).join(child, made_from_it).where(is_due, stays).distinct())
    for row in held:
        name = VersionName(*row)
        while name in bases:  # a kept version keeps its base, and that one its own base
            base_id, base = bases.pop(name)
            name = VersionName(base_id or "", base or 0)
    models = select(ModelRow.id).where(ModelRow.purge_at <= now, ModelRow.is_purged.is_(False))
    versions = session.execute(select(*columns[:2]).where(VersionRow.model_id.in_(models)))
    not_empty = {row[0] for row in versions if VersionName(*row) not in bases}
    return frozenset(bases), frozenset(session.scalars(models)) - not_empty


def due_datasets(session: Session, now: datetime) -> frozenset[str]:
    """Return the ids of the datasets that `purge` would remove now."""
    is_due = and_(DatasetRow.purge_at <= now, DatasetRow.is_purged.is_(False))
    return frozenset(session.scalars(select(DatasetRow.id).where(is_due)))


def _lock_models_with_due(session: Session, now: datetime) -> list[str]:
    """Lock the models with due resources, before the writer lock as every writer does; skip locked ones."""
    has_due = exists().where(VersionRow.model_id == ModelRow.id, VersionRow.purge_at <= now)
    is_due = and_(ModelRow.purge_at <= now, ModelRow.is_purged.is_(False))
    query = select(ModelRow.id).where(or_(is_due, has_due)).order_by(ModelRow.id)
    return list(session.scalars(query.with_for_update(skip_locked=True)))


def _remove(session: Session, version: VersionRow) -> None:
    """Delete a version's rows, and the aliases that name it: they belong to a deleted model."""
    for alias in _aliases_of(session, version):
        end_alias(session, alias, "", f"{version.name} was purged")
    session.flush()
    session.delete(version)


def _aliases_of(session: Session, version: VersionRow) -> list[AliasRow]:
    """Return the aliases that name a version as main version, canary or shadow."""
    aliases = select(AliasRow).where(AliasRow.model_id == version.model_id).order_by(AliasRow.alias)
    return [alias for alias in session.scalars(aliases) if version.number in alias.target.numbers]


def _living_versions(session: Session, row: ModelRow) -> list[VersionRow]:
    living = and_(VersionRow.model_id == row.id, VersionRow.deleted_at.is_(None))
    return list(session.scalars(select(VersionRow).where(living).order_by(VersionRow.number)))


def _jobs(session: Session, model_id: str, number: int | None = None) -> tuple[str, ...]:
    """Return unfinished jobs that start from this version; without a number, all jobs of the model."""
    about = [JobRow.base_model_id == model_id]
    if number is not None:
        about.append(JobRow.base_number == number)
    unfinished = select(JobRow.id).where(JobRow.state.not_in(ENDED))
    jobs = set(session.scalars(unfinished.where(*about)))
    if number is None:
        jobs |= set(session.scalars(unfinished.where(JobRow.model_id == model_id)))
    return tuple(job_name(job) for job in sorted(jobs))


def _refuse(name: object, reason: str, blockers: tuple[object, ...]) -> None:
    if blockers:
        raise IllegalState(f"{name} {reason.format(shown(blockers))}")


def _hide(row: ModelRow | VersionRow, now: datetime, kept_for: timedelta) -> None:
    row.deleted_at, row.purge_at = now, now + kept_for
    _touched(row, now)


def _show(row: ModelRow | VersionRow) -> None:
    row.deleted_at = row.purge_at = None
    _touched(row, datetime.now(UTC))


def _touched(row: ModelRow | VersionRow, now: datetime) -> None:
    row.revision += 1
    row.updated_at = now
