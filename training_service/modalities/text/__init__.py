"""Texts: a table with a column of texts and one or more columns of targets, or files of text in folders of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training_service.datasets.files.formats import Format
from training_service.datasets.files.tables import TABLES
from training_service.datasets.groups import Groups
from training_service.datasets.manifest import DatasetRow
from training_service.datasets.packs import PackedRows
from training_service.modalities.text.near_duplicates import group_near_duplicates
from training_service.modalities.text.reading import read_texts as read
from training_service.modalities.text.roles import takes
from training_service.modalities.text.summary import summarise
from training_service.modalities.text.training import (
    AUGMENTATIONS,
    OWN_BASE_RECIPES,
    RECIPES,
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
from training_service.modalities.text.words import learned_spec

KIND = "text"
NOUN = "text"
LABELS_ARE = "labels in its target column, or folders of texts, one for each label"
FORMATS = frozenset({Format.ARCHIVE, *TABLES})
DROPS_DUPLICATES = True
_SHOWN_CHARACTERS = 1000


def near_duplicates(keys: Sequence[str], digests: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> Groups:  # noqa: ARG001  equal texts have equal hashes
    """Group texts of one key that share most of their pairs of words."""
    return group_near_duplicates(keys, [each["words_hash"] for each in facts])


def preview(packs: PackedRows, row: DatasetRow, edge: int) -> str:  # noqa: ARG001  for pictures
    """Return the beginning of a row's text."""
    return packs.read(row).decode("utf-8-sig")[:_SHOWN_CHARACTERS]


__all__ = [
    "AUGMENTATIONS",
    "DROPS_DUPLICATES",
    "FORMATS",
    "KIND",
    "LABELS_ARE",
    "NOUN",
    "OWN_BASE_RECIPES",
    "RECIPES",
    "VARIANTS",
    "VARIANTS_ARE",
    "augmented",
    "columns",
    "describe_mistake",
    "fitted_spec",
    "learned_spec",
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
