"""Rows of numbers as training takes them: standardised where the base asks for it, and never varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.bases.catalogue import LoadedBase
from model_store.bases.tabular import load_random_mlp, load_rows
from model_store.modalities import Batch, InputSpec, Rows, X
from model_store.modalities.values.spec import MIN_STD, ValuesInputSpec
from training_service.arrays.records import Positions
from training_service.datasets.columns import ColumnRole
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.modality import Facts, PreparedColumn
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation, RecipeName

AUGMENTATIONS = frozenset({Augmentation.NONE})
OWN_BASE_RECIPES: frozenset[RecipeName | None] = frozenset({None, *RecipeName})
VARIANTS_ARE = ""
VARIANTS: Mapping[str, str] = {}
_SHOWN = 8
_MIN_WIDTH, _MAX_WIDTH = 64, 512
_NUMBERS_AT_ONCE = 2**20


def preparation(spec: InputSpec) -> str:
    """Return the key of prepared rows: their number of columns, without means or deviations."""
    return f"{cast('ValuesInputSpec', spec).size}"


def longest(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Rows:  # noqa: ARG001  the spec says it
    """Return a blank row."""
    return spec.blank()


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:
    """Say that rows have other numbers than the spec takes."""
    size, found = cast("ValuesInputSpec", spec).size, about["num_features"]
    return "" if size == found else f"takes rows of {size} numbers, and the dataset has rows of {found}"


def own_base(about: Mapping[str, Any], *, trains_stages: bool) -> LoadedBase:
    """Return the rows as they are, to fit a head on, or an MLP for rows of this size, which begins at random."""
    size = int(about["num_features"])
    if not trains_stages:
        return load_rows(size)
    return load_random_mlp([size, min(_MAX_WIDTH, max(_MIN_WIDTH, 2 * size)), _MIN_WIDTH], [], 0)


def variants(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> dict[str, InputSpec]:  # noqa: ARG001  there is one
    """Return the spec."""
    return {"": spec}


def variant(spec: InputSpec, name: str) -> InputSpec:  # noqa: ARG001  as above
    """Return the spec."""
    return spec


def fitted_spec(spec: InputSpec, manifest: DatasetManifest, rows: Rows, train: Positions) -> InputSpec:
    """Return the spec with the names of the dataset's columns.

    With means and deviations of the training rows, too, if it standardises and has none yet.
    """
    names = tuple(column.name for column in manifest.columns if column.role is ColumnRole.FEATURE)
    spec = replace(cast("ValuesInputSpec", spec), columns=names)
    if not spec.standardise or spec.mean or not len(train):
        return spec
    mean, std = _moments(rows.arrays[X], train)
    std = np.where(std >= MIN_STD, std, 1)  # a column of one number
    return replace(spec, mean=_numbers(mean), std=_numbers(std))


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:  # noqa: ARG001  none is varied
    """Return the rows."""
    return spec.to_input(batch)


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:  # noqa: ARG001  as above
    """Return the rows."""
    return spec.to_input(batch)


def columns(spec: InputSpec, manifest: DatasetManifest) -> Sequence[PreparedColumn]:  # noqa: ARG001  the dataset names them
    """Return the columns of numbers."""
    names = [column.name for column in manifest.columns if column.role is ColumnRole.FEATURE]
    return [PreparedColumn(name, X, place) for place, name in enumerate(names)]


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Facts:  # noqa: ARG001  the numbers say it all
    """Return the first few features of a row, by their columns."""
    names = [column.name for column in manifest.columns if column.role is ColumnRole.FEATURE]
    numbers = prepared.arrays[X][0].tolist()
    return Facts({name: f"{number:g}" for name, number in list(zip(names, numbers, strict=True))[:_SHOWN]})


def _moments(rows: NDArray[Any], positions: Positions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each column, of the rows at these positions, which may be many."""
    step = max(1, _NUMBERS_AT_ONCE // rows.shape[1])
    chunks = [positions[start : start + step] for start in range(0, len(positions), step)]
    first = rows[positions[0]].astype(np.float64)  # a column of one number has this mean exactly, and no deviation
    mean = first + sum((rows[chunk] - first).sum(axis=0) for chunk in chunks) / len(positions)
    variance = sum(np.square(rows[chunk] - mean).sum(axis=0) for chunk in chunks) / len(positions)
    return mean, np.sqrt(variance)


def _numbers(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return numbers with the precision of float32: a manifest of many columns stays small."""
    return tuple(float(f"{each:.9g}") for each in values.tolist())
