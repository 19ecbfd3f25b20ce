"""Rows of a table as training takes them: as they are; the first stages impute, scale and encode them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from model_store.bases.catalogue import LoadedBase
from model_store.bases.tables import load_table
from model_store.manifests import canonical_json
from model_store.modalities import Batch, InputSpec, Rows
from model_store.modalities.batch import CATEGORIES, NUMBERS
from model_store.modalities.table.columns import TableColumn
from model_store.modalities.table.spec import TableInputSpec
from model_store.texts import listed
from training_service.arrays.records import Positions
from training_service.datasets.columns import ColumnRole, ColumnType
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.modality import Facts, PreparedColumn
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation, RecipeName

AUGMENTATIONS = frozenset({Augmentation.NONE})
OWN_BASE_RECIPES: frozenset[RecipeName | None] = frozenset({None, *RecipeName})
VARIANTS_ARE = ""
VARIANTS: Mapping[str, str] = {}
_SHOWN = 8
_MLP_WIDTHS = (256, 64)


def preparation(spec: InputSpec) -> str:
    """Return the key of prepared rows: the schema."""
    return hashlib.sha256(canonical_json(spec.to_json())).hexdigest()


def longest(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Rows:  # noqa: ARG001  the spec says it
    """Return a blank row."""
    return spec.blank()


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:
    """Say that a dataset lacks columns that the spec takes, or has them with another type."""
    found = {each["name"]: each["type"] for each in about["columns"]}
    wanted = {each.name: str(each.kind) for each in cast("TableInputSpec", spec).columns}
    if missing := [repr(name) for name in wanted if name not in found]:
        return f"takes columns that the dataset lacks: {listed(missing, _SHOWN)}"
    other = [f"{name!r} ({kind}, not {found[name]})" for name, kind in wanted.items() if found[name] != kind]
    return f"takes columns of other types: {listed(other, _SHOWN)}" if other else ""


def own_base(about: Mapping[str, Any], *, trains_stages: bool) -> LoadedBase:
    """Return the base for a dataset with this schema: preprocessing alone, or a network behind it if stages train."""
    columns = [TableColumn.from_json(_entry(each), f"columns[{n}]") for n, each in enumerate(about["columns"])]
    spec = TableInputSpec(tuple(columns))
    missing = {each["name"] for each in about["columns"] if each["num_missing"]}
    indicators = [place for place, each in enumerate(spec.number_columns) if each.name in missing]
    return load_table(spec, indicators, _MLP_WIDTHS if trains_stages else ())


def variants(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> dict[str, InputSpec]:  # noqa: ARG001  there is one
    """Return the spec."""
    return {"": spec}


def variant(spec: InputSpec, name: str) -> InputSpec:  # noqa: ARG001  as above
    """Return the spec."""
    return spec


def fitted_spec(spec: InputSpec, manifest: DatasetManifest, rows: Rows, train: Positions) -> InputSpec:  # noqa: ARG001  stages are fitted instead
    """Return the spec."""
    return spec


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:  # noqa: ARG001  none is varied
    """Return the rows."""
    return spec.to_input(batch)


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:  # noqa: ARG001  as above
    """Return the rows."""
    return spec.to_input(batch)


def columns(spec: InputSpec, manifest: DatasetManifest) -> Sequence[PreparedColumn]:  # noqa: ARG001  the spec names them
    """Return the columns of numbers, and those of categories."""
    table = cast("TableInputSpec", spec)
    numbers = [PreparedColumn(each.name, NUMBERS, place) for place, each in enumerate(table.number_columns)]
    categories = enumerate(table.category_columns)
    return [*numbers, *(PreparedColumn(each.name, CATEGORIES, place, is_category=True) for place, each in categories)]


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Facts:  # noqa: ARG001  the numbers say it
    """Return the first few numbers of a row, by their columns."""
    features = [each for each in manifest.columns if each.role is ColumnRole.FEATURE]
    names = [each.name for each in features if each.type is not ColumnType.CATEGORY]
    numbers = prepared.arrays[NUMBERS][0].tolist() if NUMBERS in prepared.arrays else []
    return Facts({name: f"{number:g}" for name, number in list(zip(names, numbers, strict=False))[:_SHOWN]})


def _entry(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in ("name", "type", "categories", "buckets") if told.get(key) not in (None, 0)}
