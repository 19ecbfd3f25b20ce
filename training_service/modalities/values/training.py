"""Rows of numbers as training takes them: as they are, and never varied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from model_store.modalities import Batch, InputSpec, Rows, X
from model_store.modalities.values.spec import ValuesInputSpec
from training_service.datasets.columns import ColumnRole
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.modality import Facts
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation

AUGMENTATIONS = frozenset({Augmentation.NONE})
_SHOWN = 8


def example(stored: bytes) -> object:
    """Return the numbers, float32 [n]."""
    return np.frombuffer(stored, "<f4").astype(np.float32, copy=False)


def preparation(spec: InputSpec) -> str:
    """Name what rows depend on: how many numbers they have."""
    return f"{cast('ValuesInputSpec', spec).size}"


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:
    """Say that rows have other numbers than the spec takes."""
    size, found = cast("ValuesInputSpec", spec).size, about["num_features"]
    return "" if size == found else f"takes rows of {size} numbers, and the dataset has rows of {found}"


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:  # noqa: ARG001  none is varied
    """Return the rows."""
    return spec.to_input(batch)


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:  # noqa: ARG001  as above
    """Return the rows."""
    return spec.to_input(batch)


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Facts:  # noqa: ARG001  the numbers say it all
    """Return the first few features of a row, by their columns."""
    names = [column.name for column in manifest.columns if column.role is ColumnRole.FEATURE]
    numbers = prepared.arrays[X][0].tolist()
    return Facts({name: f"{number:g}" for name, number in list(zip(names, numbers, strict=True))[:_SHOWN]})
