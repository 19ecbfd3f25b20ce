"""The listing of training jobs."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, func, not_, or_, select
from sqlalchemy.orm import selectinload

from model_store.names import parse_alias, parse_dataset, parse_job, parse_model
from model_store.records.job_lifecycle import JobState
from model_store.records.promotion import PromotionState
from model_store.tables import JobRow
from model_store.transactions.filters import Condition, Order, only, parse_order
from model_store.transactions.listings import clauses
from model_store.transactions.listings.requests import Listing, ListRequest, filtered, paged


def _alias(condition: Condition) -> ColumnElement[bool]:
    """Compare the alias that a job points at its version, or asks to promote it to."""
    only(condition, "=", "!=")
    name = parse_alias(condition.value, "filter")
    ids = (func.coalesce(alias, "") for alias in (JobRow.alias, JobRow.promote["alias"].as_string()))
    equal = and_(JobRow.model_id == name.model_id, or_(*(alias == name.alias for alias in ids)))
    return equal if condition.operator == "=" else not_(equal)


_FIELDS = {
    "state": clauses.choice(JobRow.state, {state.upper(): str(state) for state in JobState}),
    "promotion.state": clauses.choice(JobRow.promotion_state, {state.upper(): str(state) for state in PromotionState}),
    "create_time": clauses.moment(JobRow.created_at),
    "end_time": clauses.moment(JobRow.ended_at),
    "model": clauses.text(JobRow.model_id, parse_model),
    "base": clauses.version(JobRow.base_model_id, JobRow.base_number),
    "dataset": clauses.text(JobRow.dataset_id, parse_dataset),
    "alias": _alias,
    "trial.search": clauses.text(JobRow.search_job_id, lambda text, field: parse_job(text, field) if text else None),
    "priority": clauses.number(JobRow.priority),
}


def jobs_listing(request: ListRequest) -> Listing:
    """Return the listing of training jobs, newest first where no order is asked for; raise InvalidInput."""
    name = request.listing("jobs")
    order = parse_order(request.order_by, ("create_time", "priority"), Order("create_time", descending=True))
    query = filtered(select(JobRow), request, _FIELDS).options(selectinload(JobRow.checkpoints))
    if order.field == "create_time":  # the sequence numbers jobs in the order of their creation
        return Listing(name, paged(query, request, name, order, (JobRow.sequence, int)), lambda row: (row.sequence,))
    query = paged(query, request, name, order, (JobRow.priority, int), (JobRow.sequence, int))
    return Listing(name, query, lambda row: (row.priority, row.sequence))
