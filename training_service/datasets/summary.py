"""The summary of a dataset for listings: its targets by split, near duplicates, and the files that were left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from training_service.datasets.examples import RejectedFile
from training_service.datasets.groups import Groups
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.modality import Remarked
from training_service.datasets.splits import Split
from training_service.datasets.targets import TARGETS

_MAX_REJECTED = 1000
_MAX_GROUPS = 100
_MAX_GROUP_PATHS = 20


def summary(
    manifest: DatasetManifest,
    groups: Groups,
    own: Remarked,
    split_source: str,
    rejected: Sequence[RejectedFile],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """Return the summary as plain JSON values; `groups` numbers the rows, near duplicates alike.

    `own` is the modality's part of it.
    """
    counts = manifest.rows.counts()
    return {
        "modality": manifest.modality,
        "task": manifest.task.kind,
        "columns": [column.to_json() for column in manifest.columns],
        "num_rows": {str(split): counts[split] for split in Split},
        "targets": dict(TARGETS[manifest.task.kind].statistics(manifest.task, manifest.rows)),
        "split": manifest.split.to_json(),
        "split_source": split_source,
        "rejected_files": [each.to_json() for each in sorted(rejected, key=lambda each: each.path)[:_MAX_REJECTED]],
        "num_rejected_files": len(rejected),
        "remarks": [*remarks, *own.remarks],
        **_near_duplicates(manifest, groups),
        "about": dict(own.summary),
    }


def _near_duplicates(manifest: DatasetManifest, groups: Groups) -> dict[str, Any]:
    """Return the number of rows with near duplicates, of those with some in another split, and the largest groups."""
    found = sorted(_groups(groups), key=lambda rows: (-len(rows), rows))
    split = [rows for rows in found if len({manifest.rows[row].split for row in rows}) > 1]
    return {
        "num_near_duplicates": sum(map(len, found)),
        "num_split_near_duplicates": sum(map(len, split)),
        "near_duplicates": [
            {"num_rows": len(rows), "sources": [manifest.rows[row].source for row in rows[:_MAX_GROUP_PATHS]]}
            for rows in found[:_MAX_GROUPS]
        ],
    }


def _groups(groups: Groups) -> Iterator[list[int]]:
    members: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(np.bincount(groups)[groups] > 1).tolist():
        members[int(groups[row])].append(row)
    yield from members.values()
