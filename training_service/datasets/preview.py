"""Chooses a few rows of a dataset for people to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_store.errors import InvalidInput
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.splits import ALL, SPLITS, Split


@dataclass(frozen=True)
class PreviewSize:
    """The number of rows, and the longer edge of a picture in pixels, at most."""

    example_count: int = 60
    edge: int = 160

    def __post_init__(self) -> None:
        for name, low, high in (("example_count", 1, 200), ("edge", 16, 320)):
            if not low <= getattr(self, name) <= high:
                raise InvalidInput.of(name, f"must be {low} to {high}, not {getattr(self, name)}")


def choose_rows(manifest: DatasetManifest, split: str, example_count: int) -> list[DatasetRow]:
    """Return at most this number of rows, by label and split, about equally many of each label.

    The choice among a label's rows seems random, and is always the same.
    """
    rows = manifest.rows
    positions = np.arange(len(rows)) if split == ALL else rows.positions(Split(split))
    labels = (np.zeros(len(rows), np.int32) if rows.targets.starts is not None else rows.targets.values)[positions]
    order = np.lexsort([*rows.sha256.words[positions].T[::-1], labels])
    starts = np.searchsorted(labels[order], labels[order])  # of the rows of each label
    dealt = order[np.lexsort([labels[order], np.arange(len(order)) - starts])]
    chosen = [rows[place] for place in positions[dealt[:example_count]]]
    return sorted(chosen, key=lambda row: (_label(row), SPLITS.index(row.split), row.path))


def _label(row: DatasetRow) -> int:
    """Return the index of a row's label; rows of another task count as of one."""
    return row.target if isinstance(row.target, int) else 0
