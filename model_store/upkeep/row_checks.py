"""Consistency checks of the rows. Each check is one statement, so that it sees a single committed state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from sqlalchemy import ColumnElement, Text, and_, cast, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from model_store.names import AliasName, VersionName, dataset_name, job_name, model_name
from model_store.records.aliases import Target
from model_store.records.job_lifecycle import ENDED
from model_store.records.jobs import NO_BASE
from model_store.tables import AliasMoveRow, AliasRow, DatasetRow, JobRow, ModelRow, VersionRow
from model_store.upkeep.findings import Kind, Problem

_BRING_BACK = "undelete that version; where it was purged, restore the database from a backup"


def row_problems(session: Session) -> Iterator[Problem]:
    """Yield the problems of counters, aliases, alias history, and references of versions and unfinished jobs."""
    yield from _counters(session)
    yield from _aliases(session)
    yield from _shares(session)
    yield from _moved_aliases(session)
    yield from _lost_aliases(session)
    yield from _bases_of_versions(session)
    yield from _bases_of_jobs(session)
    yield from _datasets_of_jobs(session)


def _counters(session: Session) -> Iterator[Problem]:
    highest = func.max(VersionRow.number)
    query = (
        select(ModelRow.id, ModelRow.last_number, highest)
        .join(VersionRow, VersionRow.model_id == ModelRow.id)
        .group_by(ModelRow.id, ModelRow.last_number)
        .having(highest > ModelRow.last_number)
    )
    for model_id, counter, number in session.execute(query.order_by(ModelRow.id)):
        text = f"counts {counter} versions, and has number {number}: the next number would be given a second time"
        advice = f"restore the database from a backup, or set last_number of this row of models to {number}"
        yield Problem(Kind.WRONG_COUNTER, model_name(model_id), text, advice)


def _aliases(session: Session) -> Iterator[Problem]:
    version = and_(VersionRow.model_id == AliasRow.model_id, VersionRow.number == AliasRow.number)
    query = (
        select(AliasRow.model_id, AliasRow.alias, AliasRow.number)
        .join(ModelRow, ModelRow.id == AliasRow.model_id)
        .outerjoin(VersionRow, version)
        .where(ModelRow.deleted_at.is_(None), or_(VersionRow.number.is_(None), VersionRow.deleted_at.is_not(None)))
    )
    for model_id, alias, number in session.execute(query.order_by(AliasRow.model_id, AliasRow.alias)):
        text = f"points at {VersionName(model_id, number)}, which is deleted"
        advice = f"undelete that version, or point the alias elsewhere: `maas alias set {model_id} {alias} NUMBER`"
        yield Problem(Kind.DANGLING_ALIAS, str(AliasName(model_id, alias)), text, advice)


def _shares(session: Session) -> Iterator[Problem]:
    """Find canaries and shadow versions that are deleted."""
    living = and_(VersionRow.model_id == AliasRow.model_id, VersionRow.deleted_at.is_(None))
    query = (
        select(AliasRow, VersionRow.number)
        .join(ModelRow, ModelRow.id == AliasRow.model_id)
        .outerjoin(VersionRow, living)
        .where(ModelRow.deleted_at.is_(None), AliasRow.traffic.is_not(None))
        .order_by(AliasRow.model_id, AliasRow.alias)
    )
    for alias, rows in groupby(session.execute(query), itemgetter(0)):
        for number in sorted(alias.target.numbers - {alias.number} - {row[1] for row in rows}):
            text = f"gives requests to {VersionName(alias.model_id, number)}, which is deleted"
            setting = f"`maas alias set {alias.model_id} {alias.alias} {alias.number}`"
            advice = f"undelete that version, or set the alias without it: {setting}"
            yield Problem(Kind.DANGLING_ALIAS, str(alias.name), text, advice)


def _moved_aliases(session: Session) -> Iterator[Problem]:
    moved_to, traffic = AliasMoveRow.to_number, cast(AliasMoveRow.traffic, Text)
    is_other = or_(moved_to.is_distinct_from(AliasRow.number), traffic.is_distinct_from(cast(AliasRow.traffic, Text)))
    query = select(AliasRow, AliasMoveRow).outerjoin(AliasMoveRow, and_(_is_newest(), _of_alias())).where(is_other)
    for row, move in session.execute(query.order_by(AliasRow.model_id, AliasRow.alias)):
        model_id, alias, found = row.model_id, row.alias, move.target if move is not None else None
        text = f"points at {_text(row.target)}, but its history ends with {_text(found)}"
        advice = f"`maas alias history {model_id} {alias}` shows it; point the alias at another version and back again"
        yield Problem(Kind.WRONG_HISTORY, str(AliasName(model_id, alias)), text, advice)


def _lost_aliases(session: Session) -> Iterator[Problem]:
    query = select(AliasMoveRow.model_id, AliasMoveRow.alias, AliasMoveRow.to_number).where(
        _is_newest(), AliasMoveRow.to_number.is_not(None), ~exists().where(_of_alias())
    )
    for model_id, alias, number in session.execute(query.order_by(AliasMoveRow.model_id, AliasMoveRow.alias)):
        text = f"does not exist, but its history ends with version {number}"
        advice = f"point it there again: `maas alias set {model_id} {alias} {number}`"
        yield Problem(Kind.WRONG_HISTORY, str(AliasName(model_id, alias)), text, advice)


def _bases_of_versions(session: Session) -> Iterator[Problem]:
    base = aliased(VersionRow)
    query = (
        select(VersionRow.model_id, VersionRow.number, VersionRow.base_model_id, VersionRow.base_number)
        .outerjoin(base, and_(base.model_id == VersionRow.base_model_id, base.number == VersionRow.base_number))
        .where(VersionRow.deleted_at.is_(None), VersionRow.base_model_id.is_not(None))
        .where(or_(base.number.is_(None), base.deleted_at.is_not(None)))
    )
    for model_id, number, base_id, base_number in session.execute(query.order_by(*query.selected_columns)):
        text = f"was made from {VersionName(base_id or '', base_number or 0)}, which is deleted"
        yield Problem(Kind.MISSING_BASE, str(VersionName(model_id, number)), text, _BRING_BACK)


def _bases_of_jobs(session: Session) -> Iterator[Problem]:
    base = and_(VersionRow.model_id == JobRow.base_model_id, VersionRow.number == JobRow.base_number)
    query = (
        select(JobRow.id, JobRow.base_model_id, JobRow.base_number)
        .outerjoin(VersionRow, base)
        .where(JobRow.state.not_in(ENDED), JobRow.base_model_id != NO_BASE.model_id)  # it is not chosen yet
        .where(or_(VersionRow.number.is_(None), VersionRow.deleted_at.is_not(None)))
    )
    for job_id, base_id, base_number in session.execute(query.order_by(JobRow.sequence)):
        text = f"starts from {VersionName(base_id, base_number)}, which is deleted"
        yield Problem(
            Kind.MISSING_BASE, job_name(job_id), text, f"{_BRING_BACK}, or cancel the job: `maas jobs cancel {job_id}`"
        )


def _datasets_of_jobs(session: Session) -> Iterator[Problem]:
    query = (
        select(JobRow.id, JobRow.dataset_id)
        .join(DatasetRow)
        .where(JobRow.state.not_in(ENDED), DatasetRow.deleted_at.is_not(None))
    )
    for job_id, dataset_id in session.execute(query.order_by(JobRow.sequence)):
        text = f"trains on {dataset_name(dataset_id)}, which is deleted"
        advice = f"undelete it: `maas datasets undelete {dataset_id}`, or cancel the job: `maas jobs cancel {job_id}`"
        yield Problem(Kind.MISSING_DATASET, job_name(job_id), text, advice)


def _text(target: Target | None) -> str:
    if target is None:
        return "no version"
    canaries = [f"{share.number} for {share.percent:g}%" for share in target.traffic.canaries]
    shadow = target.traffic.shadow
    shadows = [f"{shadow.number} as shadow for {shadow.percent:g}%"] if shadow is not None else []
    return " and ".join([str(target.number), *canaries, *shadows])


def _of_alias() -> ColumnElement[bool]:
    return and_(AliasMoveRow.model_id == AliasRow.model_id, AliasMoveRow.alias == AliasRow.alias)


def _is_newest() -> ColumnElement[bool]:
    """Select the last move of each alias."""
    made = select(func.max(AliasMoveRow.sequence)).where(AliasMoveRow.is_refused.is_(False))
    return AliasMoveRow.sequence.in_(made.group_by(AliasMoveRow.model_id, AliasMoveRow.alias))
