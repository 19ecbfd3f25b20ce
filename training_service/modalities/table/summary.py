"""The summary of a dataset of rows of a table: the type of each column, its distribution and its missing cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from model_store.modalities.table.columns import CellKind
from model_store.texts import listed
from training_service.datasets.examples import Example
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.modality import Remarked
from training_service.modalities.table.schema import TableSchema

TEXTS = "texts"
"""The entry with the columns of text, which only versions over a text base read; missing where there are none."""
_SHOWN = 10
_MANY_MISSING = 0.5


def summarise(
    manifest: DatasetManifest,
    new: Sequence[Example],  # noqa: ARG001  none is left out, so the facts are those of all
    observed: TableSchema,
    parent: tuple[int, Mapping[str, Any]] | None,
) -> Remarked:
    """Return the columns with their distributions, and remarks on those that say little."""
    before = {each["name"]: each for each in parent[1]["columns"]} if parent is not None else {}
    columns = []
    for column in observed.columns.values():
        facts = observed.facts[column.name]
        if column.name in before and parent is not None:
            facts.merge(parent[0], before[column.name])
        told = {**column.to_json(), **facts.to_json()}
        if column.name in before and column.kind is CellKind.CATEGORY:
            told |= _joined(told, before[column.name])
        columns.append(told)
    texts = [{**each.to_json(), "num_missing": _num_missing(each.name, observed, parent)} for each in observed.texts]
    constant = [repr(each["name"]) for each in columns if _is_constant(each, len(manifest.rows))]
    rare = [repr(each["name"]) for each in columns if each["num_missing"] > _MANY_MISSING * len(manifest.rows)]
    remarks = []
    if constant:
        remarks.append(f"columns with the same cell in every row say nothing: {listed(constant, _SHOWN)}")
    if rare:
        remarks.append(f"columns of which more than half is missing: {listed(rare, _SHOWN)}")
    return Remarked({"num_features": len(columns), "columns": columns, **({TEXTS: texts} if texts else {})}, remarks)


def _num_missing(name: str, observed: TableSchema, parent: tuple[int, Mapping[str, Any]] | None) -> int:
    """Return the missing cells of a column of texts, those of the parent's rows among them."""
    before = parent[1].get(TEXTS, ()) if parent is not None else ()
    known: int = sum(each["num_missing"] for each in before if each["name"] == name)
    return observed.facts[name].num_missing + known


def _joined(told: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the categories of both; a column that hashed them goes on to do so."""
    if "buckets" in before:
        return {"buckets": before["buckets"], "categories": []}
    return {"categories": sorted({*before["categories"], *told.get("categories", ())})}


def _is_constant(column: Mapping[str, Any], num_rows: int) -> bool:
    if column["num_missing"] not in {0, num_rows}:
        return False
    return math.isclose(column["min"], column["max"]) if "min" in column else column.get("num_categories") == 1
