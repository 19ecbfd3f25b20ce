"""Retention: a pure rule for which old versions to delete, and a pruner that deletes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from model_store.database.engine import Database
from model_store.errors import Conflict, IllegalState, InvalidInput, NotFound
from model_store.names import VersionName, job_name
from model_store.records.job_lifecycle import ENDED
from model_store.registry.models import ModelStore
from model_store.tables import AliasRow, JobRow, VersionRow
from model_store.transactions.resource_rows import living_model_row


@dataclass(frozen=True)
class Rule:
    """Keep a number of each model's newest versions, and all younger than an age; at least one must be given."""

    keep_last: int | None = None
    newer_than: timedelta | None = None

    def __post_init__(self) -> None:
        if self.keep_last is None and self.newer_than is None:
            raise InvalidInput.of("keep_last", "or newer_than must be given: say what should stay")
        if self.keep_last is not None and self.keep_last < 1:
            raise InvalidInput.of("keep_last", f"must be at least 1, not {self.keep_last}")


@dataclass(frozen=True)
class Candidate:
    """The rule's view of a version: the aliases that point at it, and the unfinished jobs that start from it."""

    name: VersionName
    created_at: datetime
    base: VersionName | None = None
    aliases: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The versions to delete, each before its base, and the reason to keep each other one."""

    delete: tuple[VersionName, ...]
    kept: Mapping[VersionName, str]


def plan(versions: Collection[Candidate], rule: Rule, now: datetime, model_id: str | None = None) -> Plan:
    """Decide about the versions of one model, or of all, given all active versions and those made from them.

    The newest version of each model is always kept, because it answers where no alias does. A kept version keeps its
    base, and that one its own base.
    """
    kept = {version.name: reason for version, reason in _kept_for_themselves(versions, rule, now, model_id) if reason}
    bases = {version.name: version.base for version in versions}
    for name in list(kept):
        child, base = name, bases[name]
        while base in bases and base not in kept:
            kept[base] = f"{child} was made from it"
            child, base = base, bases[base]
    order = TopologicalSorter({version.name: () for version in versions if version.name not in kept})
    for version in versions:
        if version.name not in kept and version.base in bases:
            order.add(version.base, version.name)
    delete = tuple(name for name in order.static_order() if name not in kept)
    return Plan(delete, {name: reason for name, reason in sorted(kept.items()) if model_id in {None, name.model_id}})


def _kept_for_themselves(
    versions: Collection[Candidate], rule: Rule, now: datetime, model_id: str | None
) -> Iterator[tuple[Candidate, str]]:
    """Yield each version with the reason to keep it; an empty reason for a version that may go."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for version in versions:
        numbers[version.name.model_id].append(version.name.number)
    num_kept = rule.keep_last or 1
    oldest = {each: sorted(those, reverse=True)[:num_kept][-1] for each, those in numbers.items()}
    for version in versions:
        if model_id not in {None, version.name.model_id}:
            yield version, "it is of another model"
        elif version.name.number >= oldest[version.name.model_id]:
            yield version, "the newest" if num_kept == 1 else f"one of the last {num_kept}"
        elif version.aliases:
            yield version, f"{', '.join(version.aliases)} points at it"
        elif rule.newer_than is not None and version.created_at > now - rule.newer_than:
            yield version, f"newer than {_text(rule.newer_than)}"
        else:
            yield version, f"{', '.join(version.jobs)} starts from it" if version.jobs else ""


def _text(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:g} days" if days >= 1 else f"{span / timedelta(hours=1):g} hours"


class Pruner:
    """Deletes old versions one by one; each can be undeleted until it is purged."""

    def __init__(self, database: Database, store: ModelStore) -> None:
        self._database = database
        self._store = store

    def find(self, rule: Rule, model_id: str | None = None) -> Plan:
        """Return the versions that `prune` would delete; raise ModelNotFound, or IllegalState for a deleted model."""
        with self._database.read() as session:
            if model_id is not None:
                living_model_row(session, model_id)
            return plan(list(_candidates(session, model_id)), rule, datetime.now(UTC), model_id)

    def prune(self, rule: Rule, model_id: str | None = None) -> Plan:
        """Delete old versions of one model, or of all, and return the result.

        A version that is needed or deleted meanwhile is listed as kept, with the error.
        """
        wanted = self.find(rule, model_id)
        deleted, kept = [], dict(wanted.kept)
        for name in wanted.delete:
            try:
                self._store.delete_version(name)
                deleted.append(name)
            except (IllegalState, NotFound, Conflict) as error:
                kept[name] = str(error)
        return Plan(tuple(deleted), kept)


def _candidates(session: Session, model_id: str | None) -> Iterator[Candidate]:
    """Yield the active versions of one model, or of all, and those made from them."""
    aliases: dict[VersionName, list[str]] = defaultdict(list)
    for alias in session.scalars(select(AliasRow).order_by(AliasRow.alias)):
        for number in alias.target.numbers:
            aliases[VersionName(alias.model_id, number)].append(alias.alias)
    jobs: dict[VersionName, list[str]] = defaultdict(list)
    started = select(JobRow.base_model_id, JobRow.base_number, JobRow.id).where(JobRow.state.not_in(ENDED))
    for from_id, from_number, job_id in session.execute(started.order_by(JobRow.sequence)):
        jobs[VersionName(from_id, from_number)].append(job_name(job_id))
    columns = VersionRow.created_at, VersionRow.base_model_id, VersionRow.base_number
    query = select(VersionRow.model_id, VersionRow.number, *columns).where(VersionRow.deleted_at.is_(None))
    if model_id is not None:
        query = query.where(or_(VersionRow.model_id == model_id, VersionRow.base_model_id == model_id))
    for owner, number, created_at, base_id, base_number in session.execute(query.order_by(VersionRow.number)):
        name = VersionName(owner, number)
        base = VersionName(base_id, base_number) if base_id is not None and base_number is not None else None
        yield Candidate(name, created_at, base, tuple(aliases[name]), tuple(jobs[name]))
