"""The files beside examples that may describe them, and the refusal of an archive."""

from __future__ import annotations

from model_store.errors import InvalidInput

SPLIT_FILE, LABELS_FILE, TARGETS_FILE = "splits.csv", "labels.csv", "targets.csv"


def is_table_file(path: str) -> bool:
    """Say whether a file may be one of them: at the root of an archive, or in a folder around everything."""
    *folders, name = path.split("/")
    return name in {SPLIT_FILE, LABELS_FILE, TARGETS_FILE} and len(folders) <= 1


def refused(reason: str) -> InvalidInput:
    """Return a refusal of the archive."""
    return InvalidInput.of("archive", reason)
