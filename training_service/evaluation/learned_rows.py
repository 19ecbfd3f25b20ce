"""Which rows versions learned from: the training and validation rows of every dataset in their chain of bases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.errors import DamagedStore, NotFound
from model_store.names import dataset_name
from model_store.records.resources import Lineage
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest, read_manifest
from training_service.datasets.splits import Split
from training_service.modalities import MODALITIES
from training_service.modalities.row_groups import comparable, near_key
from training_service.recipes.recipe import RecipeName


@dataclass(frozen=True)
class LearnedRows:
    """Rows that were trained on or chosen by: near key and facts of each, by the digest of its bytes.

    `unknown` names the datasets and bases of which nobody can tell any more which rows these were.
    """

    rows: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def __or__(self, other: LearnedRows) -> LearnedRows:
        """Return the rows of both."""
        return LearnedRows({**self.rows, **other.rows}, tuple(dict.fromkeys((*self.unknown, *other.unknown))))

    def among(self, manifest: DatasetManifest, positions: Positions) -> NDArray[np.bool_]:
        """Say of rows [n] of a dataset whether each is one of these, or a near duplicate of one."""
        rows = [manifest.rows[position] for position in positions]
        found = np.array([row.sha256 in self.rows for row in rows], np.bool_)
        others = np.flatnonzero(~found)
        learned = list(self.rows.items())
        keys = [key for _, (key, _) in learned] + [near_key(manifest, rows[other]) for other in others]
        groups = MODALITIES[manifest.modality].near_duplicates(
            comparable(keys),
            [digest for digest, _ in learned] + [rows[other].sha256 for other in others],
            [facts for _, (_, facts) in learned] + [rows[other].facts for other in others],
        )
        found[others] = np.isin(groups[len(learned) :], groups[: len(learned)])
        return found


def learned_rows(store: ModelStore, datasets: DatasetStore, lineage: Lineage) -> LearnedRows:
    """Return the rows that a version of this lineage learned from, and its bases, as far as the registry knows them.

    A version from random weights learned nothing from its base, which lent its architecture alone.
    """
    found = LearnedRows()
    while True:
        if lineage.dataset_id is not None:
            found |= _held_rows(store, datasets, lineage.dataset_id)
        if lineage.base is None or lineage.recipe.get("name") == RecipeName.SCRATCH:
            return found
        try:
            base = store.get_version(lineage.base)
        except NotFound:  # purged
            return found | LearnedRows(unknown=(str(lineage.base),))
        lineage = base.lineage


def _held_rows(store: ModelStore, datasets: DatasetStore, dataset_id: str) -> LearnedRows:
    """Return the training and validation rows of a dataset."""
    try:
        manifest = read_manifest(store.blobs, datasets.get(dataset_id).digest)
    except (NotFound, DamagedStore):
        return LearnedRows(unknown=(dataset_name(dataset_id),))
    learned = (row for row in manifest.rows if row.split is not Split.TEST)
    return LearnedRows({row.sha256: (near_key(manifest, row), row.facts) for row in learned})
