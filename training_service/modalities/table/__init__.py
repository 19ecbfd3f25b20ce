"""Rows of a table: a schema of numbers, categories, truth values and dates, any of which may be missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from training_service.datasets.files.samples import UploadSample
from training_service.datasets.files.tables import TABLES
from training_service.datasets.groups import Groups, of_equal
from training_service.datasets.manifest import DatasetRow
from training_service.datasets.packs import PackedRows
from training_service.datasets.reading import Asked
from training_service.modalities.table.features import feature_names as feature_names
from training_service.modalities.table.reading import read_table as read
from training_service.modalities.table.stages import FITTERS as FITTERS
from training_service.modalities.table.summary import summarise
from training_service.modalities.table.training import (
    AUGMENTATIONS,
    OWN_BASE_RECIPES,
    VARIANTS,
    VARIANTS_ARE,
    augmented,
    base_with_text,
    columns,
    describe_mistake,
    fitted_spec,
    longest,
    misfit,
    own_base,
    preparation,
    uncut_spec,
    variant,
    variants,
    viewed,
)

KIND = "table"
NOUN = "row"
LABELS_ARE = "labels in its target column"
FORMATS = TABLES
DROPS_DUPLICATES = False
_SHOWN_CELLS, _SHOWN_CHARACTERS = 100, 1000


def takes(sample: UploadSample, asked: Asked) -> bool:  # noqa: ARG001  any table is one
    """Say that any table is one."""
    return True


def near_duplicates(
    keys: Sequence[str],  # noqa: ARG001  equal rows are near duplicates whatever their targets are
    digests: Sequence[str],
    facts: Sequence[Mapping[str, Any]],  # noqa: ARG001  the digest says it all
) -> Groups:
    """Group rows with the same cells."""
    return of_equal(digests)


def preview(packs: PackedRows, row: DatasetRow, edge: int) -> dict[str, str]:  # noqa: ARG001  for pictures
    """Return the beginnings of a row's first cells that are not missing, as text."""
    cells = json.loads(packs.read(row))
    return {name: str(cell)[:_SHOWN_CHARACTERS] for name, cell in list(cells.items())[:_SHOWN_CELLS]}


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
    "base_with_text",
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
    "uncut_spec",
    "variant",
    "variants",
    "viewed",
]
