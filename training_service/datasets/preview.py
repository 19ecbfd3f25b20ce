"""Chooses a few rows of a dataset for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from model_store.errors import InvalidInput
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.splits import ALL, Split


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
    rows = [row for row in manifest.rows if split in {ALL, row.split}]
    by_label = [sorted(group, key=lambda row: row.sha256) for _, group in groupby(rows, key=_label)]
    places = ((place, row) for group in by_label for place, row in enumerate(group))
    dealt = sorted(places, key=lambda each: (each[0], _label(each[1])))
    order = list(Split)
    return sorted(
        (row for _, row in dealt[:example_count]), key=lambda row: (_label(row), order.index(row.split), row.path)
    )


def _label(row: DatasetRow) -> int:
    """Return the index of a row's label; rows of another task count as of one."""
    return row.target if isinstance(row.target, int) else 0
