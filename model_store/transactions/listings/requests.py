"""One page of a listing: the request for it, and the query that answers it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from model_store.database.paging import Key, PageRequest, decode_keys
from model_store.transactions.filters import Order, parse_filter
from model_store.transactions.listings.clauses import Clause, moment_of


@dataclass(frozen=True)
class ListRequest:
    """One page of a listing, with deleted resources on request only."""

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


def filtered(
    query: Select[Any],
    request: ListRequest,
    fields: Mapping[str, Clause],
    deleted_at: InstrumentedAttribute[datetime | None] | None = None,
) -> Select[Any]:
    """Keep the rows that pass the request's filter; raise InvalidInput where it cannot be read.

    Rows with a `deleted_at` are hidden, unless the request asks for them or its filter names `state`.
    """
    conditions = parse_filter(request.filter, fields)
    names_state = any(condition.field == "state" for condition in conditions)
    if deleted_at is not None and not request.show_deleted and not names_state:
        query = query.where(deleted_at.is_(None))
    return query.where(*(fields[condition.name](condition) for condition in conditions))


def paged(
    query: Select[Any],
    request: ListRequest,
    name: str,
    order: Order,
    *columns: tuple[InstrumentedAttribute[Any], type],
) -> Select[Any]:
    """Sort by the columns and go on after the keys in the page token; raise InvalidInput for another listing's."""
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
    return tuple(
        moment_of(key, "page_token", "a key") if kind is datetime else key
        for key, kind in zip(keys, kinds, strict=bool(keys))
    )
