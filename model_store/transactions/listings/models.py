"""The listing of models."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from model_store.tables import AliasRow, ModelRow, ModelTagRow
from model_store.transactions.filters import Order, parse_order
from model_store.transactions.listings import clauses
from model_store.transactions.listings.requests import Listing, ListRequest, filtered, paged

_FIELDS = {
    "state": clauses.state(ModelRow.deleted_at),
    "create_time": clauses.moment(ModelRow.created_at),
    "aliases": clauses.aliases(AliasRow.model_id == ModelRow.id),
    "tags.": clauses.tags(ModelTagRow, ModelTagRow.model_id == ModelRow.id),
}


def models_listing(request: ListRequest) -> Listing:
    """Return the listing of models; raise InvalidInput where the request cannot be read."""
    name = request.listing("models")
    order = parse_order(request.order_by, ("name", "create_time"), Order("name"))
    query = filtered(select(ModelRow).where(ModelRow.is_purged.is_(False)), request, _FIELDS, ModelRow.deleted_at)
    query = query.options(selectinload(ModelRow.aliases), selectinload(ModelRow.tags))
    if order.field == "name":
        return Listing(name, paged(query, request, name, order, (ModelRow.id, str)), lambda row: (row.id,))
    query = paged(query, request, name, order, (ModelRow.created_at, datetime), (ModelRow.id, str))
    return Listing(name, query, lambda row: (row.created_at.isoformat(), row.id))
