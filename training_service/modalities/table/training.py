"""Rows of a table as training takes them: as they are; the first stages impute, scale and encode them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from model_store.bases.catalogue import LoadedBase
from model_store.bases.tables import load_table, load_table_text
from model_store.blobs import BlobStore
from model_store.errors import InvalidInput, InvalidManifest
from model_store.manifests import canonical_json
from model_store.modalities import Batch, InputSpec, Rows, X
from model_store.modalities.batch import CATEGORIES, NUMBERS
from model_store.modalities.table.columns import CellKind, TableColumn
from model_store.modalities.table.spec import TableInputSpec
from model_store.modalities.text.spec import TextInputSpec
from model_store.texts import listed, quoted
from training_service.arrays.records import Positions
from training_service.datasets.columns import ColumnRole, ColumnType
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.modality import Facts, PreparedColumn, TextBase
from training_service.modalities.table.summary import TEXTS
from training_service.modalities.text import training as text
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation, RecipeName

AUGMENTATIONS = frozenset({Augmentation.NONE})
OWN_BASE_RECIPES: frozenset[RecipeName | None] = frozenset({None, *RecipeName})
VARIANTS_ARE = ""
VARIANTS: Mapping[str, str] = {}
_SHOWN = 8
_MLP_WIDTHS = (256, 64)


def preparation(spec: InputSpec) -> str:
    """Return the key of prepared rows: the schema, and where it has texts what theirs depend on."""
    schema, own = hashlib.sha256(canonical_json(spec.to_json())).hexdigest(), cast("TableInputSpec", spec).text
    return schema if own is None else f"{schema}-{text.preparation(own)}"


def longest(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Rows:  # noqa: ARG001  the spec says it
    """Return a blank row."""
    return spec.blank()


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:
    """Say that a dataset lacks columns that the spec takes, or has them with another type."""
    found = {each["name"]: each["type"] for each in [*about["columns"], *about.get(TEXTS, ())]}
    wanted = {each.name: str(each.kind) for each in cast("TableInputSpec", spec).columns}
    if missing := [repr(name) for name in wanted if name not in found]:
        return f"takes columns that the dataset lacks: {listed(missing, _SHOWN)}"
    other = [f"{name!r} ({kind}, not {found[name]})" for name, kind in wanted.items() if found[name] != kind]
    return f"takes columns of other types: {listed(other, _SHOWN)}" if other else ""


def own_base(about: Mapping[str, Any], *, trains_stages: bool) -> LoadedBase:
    """Return the base for a dataset with this schema: preprocessing alone, or a network behind it if stages train."""
    spec = TableInputSpec(_columns(about))
    return load_table(spec, _indicators(spec, about), _MLP_WIDTHS if trains_stages else ())


def base_with_text(about: Mapping[str, Any], base: TextBase) -> LoadedBase:
    """Return the base for a dataset with this schema and one of its columns of text, over an encoder's own stages.

    Raise InvalidInput for a field of TextBase where the dataset has no such column, or the version is no encoder.
    """
    column = _text_column([each["name"] for each in about.get(TEXTS, ())], base.column)
    if not isinstance(base.spec, TextInputSpec):
        rule = f"{base.name} takes examples of the modality {base.spec.kind}: name a version that takes texts"
        raise InvalidInput.of("text_base", rule)
    if not base.spec.tokenizer:
        raise InvalidInput.of(
            "text_base", f"{base.name} has no tokenizer yet: name an encoder that was trained on texts"
        )
    spec = TableInputSpec((*_columns(about), TableColumn(column, CellKind.TEXT)), base.spec.uncut())
    try:
        return load_table_text(spec, _indicators(spec, about), base.manifest)
    except InvalidManifest as error:
        raise InvalidInput.of("text_base", f"{base.name} cannot read a column of a table: {error}") from error


def _text_column(texts: Sequence[str], asked: str) -> str:
    """Return the column to read; raise InvalidInput where none is named and there is not just one."""
    shown = listed([*map(repr, texts)], _SHOWN)
    if asked:
        if asked not in texts:
            there = f"its columns of text are {shown}" if texts else "it has no column of text"
            rule = (
                f"the dataset has no column of text {quoted(asked)}: {there}; the schema can say that a column is text"
            )
            raise InvalidInput.of("text_column", rule)
        return asked
    if not texts:
        rule = (
            "the dataset has no column of text: upload it again with a schema that says which one is (maas finetune: "
            "--text-column), or leave the text base out"
        )
        raise InvalidInput.of("text_base", rule)
    if len(texts) > 1:
        rule = (
            f"must name the column that the text base reads (--text-column), as the dataset has {len(texts)}: {shown}"
        )
        raise InvalidInput.of("text_column", rule)
    return texts[0]


def uncut_spec(spec: InputSpec, examples: Iterable[bytes], blobs: BlobStore) -> InputSpec:  # noqa: ARG001  nothing is learned of them
    """Return the spec that reads texts up to the encoder's own length, whatever a fine-tune before has cut them to."""
    own = cast("TableInputSpec", spec)
    return own if own.text is None else replace(own, text=own.text.uncut())


def variants(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> dict[str, InputSpec]:  # noqa: ARG001  there is one
    """Return the spec."""
    return {"": spec}


def variant(spec: InputSpec, name: str) -> InputSpec:  # noqa: ARG001  as above
    """Return the spec."""
    return spec


def fitted_spec(spec: InputSpec, manifest: DatasetManifest, rows: Rows, train: Positions) -> InputSpec:
    """Return the spec, with texts cut to the length that those of training need; stages are fitted to all else."""
    own = cast("TableInputSpec", spec)
    if own.text is None:
        return own
    return replace(own, text=cast("TextInputSpec", text.fitted_spec(own.text, manifest, rows, train)))


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:  # noqa: ARG001  none is varied
    """Return the rows."""
    return spec.to_input(batch)


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:  # noqa: ARG001  as above
    """Return the rows."""
    return spec.to_input(batch)


def columns(spec: InputSpec, manifest: DatasetManifest) -> Sequence[PreparedColumn]:  # noqa: ARG001  the spec names them
    """Return the columns of numbers, those of categories, and that of texts."""
    table = cast("TableInputSpec", spec)
    numbers = [PreparedColumn(each.name, NUMBERS, place) for place, each in enumerate(table.number_columns)]
    found = enumerate(table.category_columns)
    categories = [PreparedColumn(each.name, CATEGORIES, place, is_category=True) for place, each in found]
    texts = [PreparedColumn(table.text_column.name, X, None)] if table.text_column is not None else []
    return [*numbers, *categories, *texts]


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Facts:  # noqa: ARG001  the numbers say it
    """Return the first few numbers of a row, by their columns."""
    features = [each for each in manifest.columns if each.role is ColumnRole.FEATURE]
    names = [each.name for each in features if each.type not in {ColumnType.CATEGORY, ColumnType.TEXT}]
    numbers = prepared.arrays[NUMBERS][0].tolist() if NUMBERS in prepared.arrays else []
    return Facts({name: f"{number:g}" for name, number in list(zip(names, numbers, strict=False))[:_SHOWN]})


def _columns(about: Mapping[str, Any]) -> tuple[TableColumn, ...]:
    columns = enumerate(about["columns"])
    return tuple(TableColumn.from_json(_entry(each), f"columns[{place}]") for place, each in columns)


def _indicators(spec: TableInputSpec, about: Mapping[str, Any]) -> list[int]:
    """Return the places of the numbers of which some are missing."""
    missing = {each["name"] for each in about["columns"] if each["num_missing"]}
    return [place for place, each in enumerate(spec.number_columns) if each.name in missing]


def _entry(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in ("name", "type", "categories", "buckets") if told.get(key) not in (None, 0)}
