"""Rows of numbers: a table with a column for each feature, and one or more columns of targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training_service.datasets.files.tables import TABLES
from training_service.datasets.groups import Groups, of_equal
from training_service.datasets.manifest import DatasetRow
from training_service.datasets.packs import PackedRows
from training_service.datasets.tables.roles import takes
from training_service.modalities.values.reading import read_values as read
from training_service.modalities.values.summary import summarise
from training_service.modalities.values.training import (
    AUGMENTATIONS,
    OWN_BASE_RECIPES,
    VARIANTS,
    VARIANTS_ARE,
    augmented,
    columns,
    describe_mistake,
    fitted_spec,
    longest,
    misfit,
    own_base,
    preparation,
    variant,
    variants,
    viewed,
)

KIND = "values"
NOUN = "row"
LABELS_ARE = "labels in its target column"
FORMATS = TABLES
DROPS_DUPLICATES = False
_SHOWN_NUMBERS = 100


def near_duplicates(
    keys: Sequence[str],  # noqa: ARG001  equal rows are near duplicates whatever their targets are
    digests: Sequence[str],
    facts: Sequence[Mapping[str, Any]],  # noqa: ARG001  the digest says it all
) -> Groups:
    """Group rows with the same numbers."""
    return of_equal(digests)


def preview(packs: PackedRows, row: DatasetRow, edge: int) -> tuple[float, ...]:  # noqa: ARG001  for pictures
    """Return a row's first numbers."""
    return tuple(np.frombuffer(packs.read(row), "<f4")[:_SHOWN_NUMBERS].tolist())


__all__ = [
    "AUGMENTATIONS",
    "DROPS_DUPLICATES",
    "FORMATS",
    "KIND",
    "LABELS_ARE",
    "NOUN",
    "OWN_BASE_RECIPES",
    "VARIANTS",
    "VARIANTS_ARE",
    "augmented",
    "columns",
    "describe_mistake",
    "fitted_spec",
    "longest",
    "misfit",
    "near_duplicates",
    "own_base",
    "preparation",
    "preview",
    "read",
    "summarise",
    "takes",
    "variant",
    "variants",
    "viewed",
]
