"""Two versions on the rows that both have kept answers for: nothing is run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_store.names import VersionName
from model_store.registry.models import ModelStore
from training_service.evaluation.difference import Difference, difference
from training_service.evaluation.held_out import paired, read_held_out
from training_service.tasks import TRAINING_TASKS


@dataclass(frozen=True)
class RowsCompared:
    """How far the second version is from the first on the same rows, by the task's own metric.

    `metrics` has the figures of both, the first version's first, by the name of every metric that both have there.
    """

    metric: str
    difference: Difference
    metrics: Mapping[str, tuple[float, float]]
    is_cross_validated: bool


def compared_rows(store: ModelStore, first: VersionName, second: VersionName) -> RowsCompared | None:
    """Compare two versions row by row; None where they have no rows in common.

    Raises VersionNotFound, and MissingBlob, CorruptBlob or InvalidManifest where the store is damaged.
    """
    kept = [read_held_out(store, store.get_version(name)) for name in (second, first)]
    pairs = paired(*kept) if first != second else None
    if pairs is None:
        return None
    task = TRAINING_TASKS[pairs.own[0].task.kind]
    metrics = {name: (before, after) for name, (after, before) in pairs.metrics.items()}
    found = difference(task, pairs.own, pairs.other, groups=pairs.groups)
    return RowsCompared(task.headline, found, metrics, pairs.is_cross_validated)
