"""The queries behind the listings of models and versions: filters, orders and keyset pages."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, not_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from model_store.database.paging import Key, PageRequest, decode_keys
from model_store.errors import InvalidInput
from model_store.names import parse_dataset, parse_job, parse_version
from model_store.tables import AliasRow, ModelRow, ModelTagRow, VersionMetricRow, VersionRow, VersionTagRow
from model_store.transactions.filters import Condition, Order, number_of, only, parse_filter, parse_order

_KEPT_FIELDS = ("state", "create_time", "aliases", "tags.")
_VERSION_FIELDS = (*_KEPT_FIELDS, "architecture", "base", "dataset", "training_job", "metrics.")
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_STATES = {"ACTIVE": False, "DELETED": True}


@dataclass(frozen=True)
class ListRequest:
    """One page of a listing, and what it shows: deleted resources only where asked for."""

    page: PageRequest = field(default_factory=PageRequest)
    filter: str = ""
    order_by: str = ""
    show_deleted: bool = False

    def listing(self, name: str) -> str:
        """Return a name for this very listing: a page token of another filter or order is refused."""
        asked = f"{self.filter}\n{self.order_by}\n{self.show_deleted}".encode(errors="surrogatepass")
        return f"{name} {hashlib.sha256(asked).hexdigest()[:16]}"


@dataclass(frozen=True)
class Listing:
    """A query for one page and one item more, and the keys that find a row of it again."""

    name: str
    query: Select[Any]
    keys: Callable[[Any], tuple[Key, ...]]


def models_listing(request: ListRequest) -> Listing:
    """Return the listing of models; raise InvalidInput where the request cannot be read."""
    name = request.listing("models")
    order = parse_order(request.order_by, ("name", "create_time"), Order("name"))
    conditions = parse_filter(request.filter, _KEPT_FIELDS)
    query = (
        select(ModelRow)
        .where(ModelRow.is_purged.is_(False), *_living(ModelRow.deleted_at, conditions, request))
        .where(*(_model_clause(condition) for condition in conditions))
        .options(selectinload(ModelRow.aliases), selectinload(ModelRow.tags))
    )
    if order.field == "name":
        return Listing(name, _paged(query, request, name, order, (ModelRow.id, str)), lambda row: (row.id,))
    query = _paged(query, request, name, order, (ModelRow.created_at, datetime), (ModelRow.id, str))
    return Listing(name, query, lambda row: (row.created_at.isoformat(), row.id))


def versions_listing(model_id: str, request: ListRequest) -> Listing:
    """Return the listing of a model's versions; raise InvalidInput where the request cannot be read.

    In the order of a metric, versions without that metric are left out.
    """
    name = request.listing(f"versions of {model_id}")
    order = parse_order(request.order_by, ("number", "metrics."), Order("number", descending=True))
    conditions = parse_filter(request.filter, _VERSION_FIELDS)
    query = (
        select(VersionRow)
        .where(VersionRow.model_id == model_id, *_living(VersionRow.deleted_at, conditions, request))
        .where(*(_version_clause(condition) for condition in conditions))
        .options(
            selectinload(VersionRow.stages),
            selectinload(VersionRow.aliases),
            selectinload(VersionRow.tags),
            selectinload(VersionRow.metric_values),
        )
    )
    if order.field == "number":
        return Listing(name, _paged(query, request, name, order, (VersionRow.number, int)), lambda row: (row.number,))
    of_version = and_(VersionMetricRow.model_id == VersionRow.model_id, VersionMetricRow.number == VersionRow.number)
    query = query.join(VersionMetricRow, of_version).where(
        VersionMetricRow.model_id == model_id, VersionMetricRow.name == order.key
    )
    query = _paged(query, request, name, order, (VersionMetricRow.value, float), (VersionMetricRow.number, int))
    return Listing(name, query, lambda row: (_metric(row, order.key), row.number))


def _metric(row: VersionRow, name: str) -> float:
    return next(each.value for each in row.metric_values if each.name == name)


def _paged(
    query: Select[Any],
    request: ListRequest,
    name: str,
    order: Order,
    *columns: tuple[InstrumentedAttribute[Any], type],
) -> Select[Any]:
    """Sort by the columns and go on after the keys in the page token."""
    keys = _keys(name, request.page.token, tuple(kind for _, kind in columns))
    attributes = [column for column, _ in columns]
    if keys:
        # A row of one column would be compared without the help of an index.
        here, there = (attributes[0], keys[0]) if len(keys) == 1 else (tuple_(*attributes), tuple_(*keys))
        query = query.where(here < there if order.descending else here > there)
    ordered = [column.desc() if order.descending else column.asc() for column in attributes]
    return query.order_by(*ordered).limit(request.page.limit + 1)


def _keys(name: str, token: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Return the keys in a token; a moment travels as text."""
    keys = decode_keys(name, token, *(str if kind is datetime else kind for kind in kinds))
    return tuple(_moment(key) if kind is datetime else key for key, kind in zip(keys, kinds, strict=bool(keys)))


def _living(
    deleted_at: InstrumentedAttribute[datetime | None], conditions: tuple[Condition, ...], request: ListRequest
) -> list[ColumnElement[bool]]:
    """Hide what was deleted, unless the request speaks of it."""
    spoken_of = request.show_deleted or any(condition.field == "state" for condition in conditions)
    return [] if spoken_of else [deleted_at.is_(None)]


def _model_clause(condition: Condition) -> ColumnElement[bool]:
    match condition.field:
        case "tags":
            return _tag_clause(condition, ModelTagRow, ModelTagRow.model_id == ModelRow.id)
        case "aliases":
            return _alias_clause(condition, AliasRow.model_id == ModelRow.id)
        case _:
            return _life_clause(condition, ModelRow)


def _version_clause(condition: Condition) -> ColumnElement[bool]:
    match condition.field:
        case "tags":
            this = and_(VersionTagRow.model_id == VersionRow.model_id, VersionTagRow.number == VersionRow.number)
            return _tag_clause(condition, VersionTagRow, this)
        case "aliases":
            this = and_(AliasRow.model_id == VersionRow.model_id, AliasRow.number == VersionRow.number)
            return _alias_clause(condition, this)
        case "metrics":
            return _metric_clause(condition)
        case "state" | "create_time":
            return _life_clause(condition, VersionRow)
        case _:
            only(condition, "=", "!=")
            equal = _equal(condition)
            return equal if condition.operator == "=" else not_(equal)


def _equal(condition: Condition) -> ColumnElement[bool]:
    match condition.field:
        case "base":
            base = parse_version(condition.value, "filter")
            return and_(VersionRow.base_model_id == base.model_id, VersionRow.base_number == base.number)
        case "dataset":
            return VersionRow.dataset_id == parse_dataset(condition.value, "filter")
        case "training_job":
            return VersionRow.job_id == parse_job(condition.value, "filter")
        case _:
            return VersionRow.architecture == condition.value


def _metric_clause(condition: Condition) -> ColumnElement[bool]:
    only(condition, *_COMPARE)
    compared = _COMPARE[condition.operator](VersionMetricRow.value, number_of(condition))
    same = and_(VersionMetricRow.model_id == VersionRow.model_id, VersionMetricRow.number == VersionRow.number)
    found = exists().where(same, VersionMetricRow.name == condition.key, compared)
    return found.correlate(VersionRow)  # not with the metric that the listing may be in the order of


def _tag_clause(
    condition: Condition, table: type[ModelTagRow | VersionTagRow], this: ColumnElement[bool]
) -> ColumnElement[bool]:
    """`tags.team = "vision"`, `tags.team != "vision"` (another value or none), `tags.team:*` (any value)."""
    only(condition, "=", "!=", ":")
    tagged = exists().where(this, table.key == condition.key)
    if condition.operator == ":":
        return tagged if condition.value == "*" else tagged.where(table.value == condition.value)
    equal = tagged.where(table.value == condition.value)
    return equal if condition.operator == "=" else not_(equal)


def _alias_clause(condition: Condition, this: ColumnElement[bool]) -> ColumnElement[bool]:
    """`aliases:production`, `aliases:*`."""
    only(condition, ":")
    aliased = exists().where(this)
    return aliased if condition.value == "*" else aliased.where(AliasRow.alias == condition.value)


def _life_clause(condition: Condition, table: type[ModelRow | VersionRow]) -> ColumnElement[bool]:
    if condition.field == "create_time":
        only(condition, *_COMPARE)
        clause: ColumnElement[bool] = _COMPARE[condition.operator](table.created_at, _moment(condition.value))
        return clause
    only(condition, "=", "!=")
    if condition.value not in _STATES:
        raise InvalidInput.of("filter", f"state is ACTIVE or DELETED, not {condition.value!r}")
    deleted = _STATES[condition.value] == (condition.operator == "=")
    return table.deleted_at.is_not(None) if deleted else table.deleted_at.is_(None)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput.of("filter", f"create_time has the form 2026-11-23T09:00:00Z, not {text!r}") from error
    if moment.tzinfo is None:
        raise InvalidInput.of("filter", f"create_time needs a time zone, such as {moment.isoformat()}Z")
    return moment
