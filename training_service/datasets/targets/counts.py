"""Counts of labels: by split for a listing, and in the text of an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training_service.datasets.columnar.rows import RowColumns
from training_service.datasets.splits import SPLITS

_SHOWN = 20


def label_counts(labels: Sequence[str], rows: RowColumns) -> list[dict[str, Any]]:
    """Return the number of rows of each label, by split."""
    places = rows.targets.values.astype(np.int64) * len(SPLITS) + np.repeat(rows.splits, rows.targets.lengths)
    counts = np.bincount(places, minlength=len(labels) * len(SPLITS)).reshape(-1, len(SPLITS)).tolist()
    return [
        {"label": name, **{f"num_{split}": count for split, count in zip(SPLITS, of_label, strict=True)}}
        for name, of_label in zip(labels, counts, strict=True)
    ]


def shown_counts(counts: Mapping[str, int]) -> str:
    """Return labels with their counts, as an error names them."""
    shown = [f"{label} ({count})" for label, count in sorted(counts.items())[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")
