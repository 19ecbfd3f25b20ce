"""Conditions as SQL: a function for each kind of field, which raises InvalidInput for a wrong condition."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, and_, exists, not_
from sqlalchemy.orm import InstrumentedAttribute

from model_store.errors import InvalidInput
from model_store.names import parse_version
from model_store.tables import AliasRow, ModelTagRow, VersionTagRow
from model_store.transactions.filters import Condition, number_of, only

Column: TypeAlias = InstrumentedAttribute[Any] | ColumnElement[Any]
Clause: TypeAlias = Callable[[Condition], ColumnElement[bool]]
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def text(column: Column, read: Callable[[str, str], object] = lambda value, _: value) -> Clause:
    """Compare a column of text for equality with the result of `read(value, "filter")`; NULL equals nothing."""

    def clause(condition: Condition) -> ColumnElement[bool]:
        only(condition, "=", "!=")
        value = read(condition.value, "filter")
        equal: ColumnElement[bool] = column == value
        return equal if condition.operator == "=" else column.is_distinct_from(value)

    return clause


def choice(column: Column, values: Mapping[str, str]) -> Clause:
    """Compare a column for equality with one of a few values, given by their names in the API."""

    def read(value: str, field: str) -> str:
        if value not in values:
            raise InvalidInput.of(field, f"knows no value {value[:80]!r} here; there are {', '.join(values)}")
        return values[value]

    return text(column, read)


def version(model_id: InstrumentedAttribute[Any], number: InstrumentedAttribute[Any]) -> Clause:
    """Compare two columns for equality with a version's name."""

    def clause(condition: Condition) -> ColumnElement[bool]:
        only(condition, "=", "!=")
        name = parse_version(condition.value, "filter")
        if condition.operator == "=":
            return and_(model_id == name.model_id, number == name.number)
        return model_id.is_distinct_from(name.model_id) | number.is_distinct_from(name.number)

    return clause


def number(column: InstrumentedAttribute[Any]) -> Clause:
    """Compare a column of numbers."""

    def clause(condition: Condition) -> ColumnElement[bool]:
        only(condition, *_COMPARE)
        compared: ColumnElement[bool] = _COMPARE[condition.operator](column, number_of(condition))
        return compared

    return clause


def moment(column: InstrumentedAttribute[Any]) -> Clause:
    """Compare a column of moments."""

    def clause(condition: Condition) -> ColumnElement[bool]:
        only(condition, *_COMPARE)
        value = moment_of(condition.value, "filter", condition.field)
        compared: ColumnElement[bool] = _COMPARE[condition.operator](column, value)
        return compared

    return clause


def state(deleted_at: InstrumentedAttribute[datetime | None]) -> Clause:
    """`state = ACTIVE`, `state = DELETED`."""
    is_deleted = {"ACTIVE": False, "DELETED": True}

    def clause(condition: Condition) -> ColumnElement[bool]:
        only(condition, "=", "!=")
        if condition.value not in is_deleted:
            raise InvalidInput.of("filter", f"state is ACTIVE or DELETED, not {condition.value[:80]!r}")
        deleted = is_deleted[condition.value] == (condition.operator == "=")
        return deleted_at.is_not(None) if deleted else deleted_at.is_(None)

    return clause


def tags(table: type[ModelTagRow | VersionTagRow], this: ColumnElement[bool]) -> Clause:
    """`tags.team = "vision"`, `tags.team != "vision"` (another value or none), `tags.team:*` (any value)."""

    def clause(condition: Condition) -> ColumnElement[bool]:
        only(condition, "=", "!=", ":")
        tagged = exists().where(this, table.key == condition.key)
        if condition.operator == ":":
            return tagged if condition.value == "*" else tagged.where(table.value == condition.value)
        equal = tagged.where(table.value == condition.value)
        return equal if condition.operator == "=" else not_(equal)

    return clause


def aliases(this: ColumnElement[bool]) -> Clause:
    """`aliases:production`, `aliases:*`."""

    def clause(condition: Condition) -> ColumnElement[bool]:
        only(condition, ":")
        aliased = exists().where(this)
        return aliased if condition.value == "*" else aliased.where(AliasRow.alias == condition.value)

    return clause


def moment_of(value: str, place: str, field: str) -> datetime:
    """Read a moment with its time zone; raise InvalidInput naming the place in the request and the field."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidInput.of(place, f"{field} has the form 2026-11-23T09:00:00Z, not {value[:80]!r}") from error
    if moment.tzinfo is None:
        raise InvalidInput.of(place, f"{field} needs a time zone, such as {moment.isoformat()}Z")
    return moment
