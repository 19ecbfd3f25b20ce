"""Rows of a dataset that belong together: near duplicates, and groups of the user's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training_service.datasets.groups import Groups, joined
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.targets import TARGETS
from training_service.modalities import MODALITIES


def rows_together(manifest: DatasetManifest) -> Groups:
    """Return a number for each row, int64 [n]: near duplicates, and rows of one group of the user's, have the same."""
    rows = list(manifest.rows)
    groups = MODALITIES[manifest.modality].near_duplicates(
        comparable([near_key(manifest, row) for row in rows]),
        [row.sha256 for row in rows],
        [row.facts for row in rows],
    )
    named = np.flatnonzero([bool(row.group) for row in rows])
    _, first, places = np.unique([rows[row].group for row in named], return_index=True, return_inverse=True)
    return joined(groups, named, named[first[places]]) if len(named) else groups


def comparable(keys: Sequence[str]) -> Sequence[str]:
    """Return the near keys of rows, or equal ones where some rows have none: those are of a task without one label."""
    return keys if all(keys) else [""] * len(keys)


def near_key(manifest: DatasetManifest, row: DatasetRow) -> str:
    """Return what rows have in common that may be near duplicates."""
    targets = TARGETS[manifest.task.kind]
    return targets.near_key(targets.named(manifest.task, row.target))
