"""The listing of datasets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from model_store.names import parse_dataset
from model_store.tables import DatasetRow
from model_store.tasks import TASKS
from model_store.transactions.filters import Order, parse_order
from model_store.transactions.listings import clauses
from model_store.transactions.listings.requests import Listing, ListRequest, filtered, paged

_FIELDS = {
    "state": clauses.state(DatasetRow.deleted_at),
    "create_time": clauses.moment(DatasetRow.created_at),
    "modality": clauses.text(DatasetRow.summary["modality"].as_string()),
    "task": clauses.choice(DatasetRow.summary["task"].as_string(), {kind.upper(): kind for kind in TASKS}),
    "parent": clauses.text(DatasetRow.parent_id, parse_dataset),
    "digest": clauses.text(DatasetRow.digest),
    "example_count": clauses.number(DatasetRow.num_rows),
    "size_bytes": clauses.number(DatasetRow.size_bytes),
}
_ORDERS: Mapping[str, tuple[InstrumentedAttribute[Any], type]] = {
    "create_time": (DatasetRow.created_at, datetime),
    "example_count": (DatasetRow.num_rows, int),
    "size_bytes": (DatasetRow.size_bytes, int),
}


def datasets_listing(request: ListRequest) -> Listing:
    """Return the listing of datasets, by id where no order is asked for; raise InvalidInput."""
    name = request.listing("datasets")
    order = parse_order(request.order_by, ("name", *_ORDERS), Order("name"))
    query = filtered(select(DatasetRow).where(DatasetRow.is_purged.is_(False)), request, _FIELDS, DatasetRow.deleted_at)
    query = query.options(selectinload(DatasetRow.packs))
    if order.field == "name":
        return Listing(name, paged(query, request, name, order, (DatasetRow.id, str)), lambda row: (row.id,))
    column, kind = _ORDERS[order.field]
    query = paged(query, request, name, order, (column, kind), (DatasetRow.id, str))
    return Listing(name, query, lambda row: (_key(getattr(row, column.key)), row.id))


def _key(value: datetime | int) -> str | int:
    return value.isoformat() if isinstance(value, datetime) else value
