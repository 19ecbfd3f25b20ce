"""The listing of a model's versions."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, select

from model_store.names import parse_dataset, parse_job
from model_store.tables import AliasRow, VersionMetricRow, VersionRow, VersionTagRow
from model_store.tasks import TASKS
from model_store.transactions.filters import Condition, Order, parse_order
from model_store.transactions.listings import clauses
from model_store.transactions.listings.requests import Listing, ListRequest, filtered, paged
from model_store.transactions.resource_rows import WHOLE_VERSION

_OF_VERSION = and_(VersionMetricRow.model_id == VersionRow.model_id, VersionMetricRow.number == VersionRow.number)


def _metric(condition: Condition) -> ColumnElement[bool]:
    compared = clauses.number(VersionMetricRow.value)(condition)
    found = exists().where(_OF_VERSION, VersionMetricRow.name == condition.key, compared)
    return found.correlate(VersionRow)  # not with the metric that the listing may be in the order of


_FIELDS = {
    "state": clauses.state(VersionRow.deleted_at),
    "create_time": clauses.moment(VersionRow.created_at),
    "aliases": clauses.aliases(and_(AliasRow.model_id == VersionRow.model_id, AliasRow.number == VersionRow.number)),
    "tags.": clauses.tags(
        VersionTagRow, and_(VersionTagRow.model_id == VersionRow.model_id, VersionTagRow.number == VersionRow.number)
    ),
    "architecture": clauses.text(VersionRow.architecture),
    "modality": clauses.text(VersionRow.modality),
    "task": clauses.choice(VersionRow.task, {kind.upper(): kind for kind in TASKS}),
    "base": clauses.version(VersionRow.base_model_id, VersionRow.base_number),
    "dataset": clauses.text(VersionRow.dataset_id, parse_dataset),
    "training_job": clauses.text(VersionRow.job_id, parse_job),
    "metrics.": _metric,
}


def versions_listing(model_id: str, request: ListRequest) -> Listing:
    """Return the listing of a model's versions; raise InvalidInput where the request cannot be read.

    In the order of a metric, versions without that metric are left out.
    """
    name = request.listing(f"versions of {model_id}")
    order = parse_order(request.order_by, ("number", "metrics."), Order("number", descending=True))
    query = filtered(select(VersionRow).where(VersionRow.model_id == model_id), request, _FIELDS, VersionRow.deleted_at)
    query = query.options(*WHOLE_VERSION)
    if order.field == "number":
        return Listing(name, paged(query, request, name, order, (VersionRow.number, int)), lambda row: (row.number,))
    query = query.join(VersionMetricRow, _OF_VERSION).where(
        VersionMetricRow.model_id == model_id, VersionMetricRow.name == order.key
    )
    query = paged(query, request, name, order, (VersionMetricRow.value, float), (VersionMetricRow.number, int))
    return Listing(name, query, lambda row: (_value(row, order.key), row.number))


def _value(row: VersionRow, name: str) -> float:
    return next(each.value for each in row.metric_values if each.name == name)
