"""Counts of labels: by split for a listing, and in the text of an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training_service.datasets.splits import Split

_SHOWN = 20


def label_counts(labels: Sequence[str], found: Iterable[tuple[object, Split]]) -> list[dict[str, Any]]:
    """Return the number of found indices of each label, by split."""
    counts = Counter(found)
    return [
        {"label": name, **{f"num_{split}": counts[index, split] for split in Split}}
        for index, name in enumerate(labels)
    ]


def shown_counts(counts: Mapping[str, int]) -> str:
    """Return labels with their counts, as an error names them."""
    shown = [f"{label} ({count})" for label, count in sorted(counts.items())[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")
