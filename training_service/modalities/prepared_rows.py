"""A dataset as an input spec prepares it: mapped arrays by name, filled once at the first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.blobs import BlobStore
from model_store.errors import DamagedStore, InvalidExample
from model_store.modalities import MASK, Batch, InputSpec, Rows, is_sequence
from training_service.arrays.array_cache import ArrayCache
from training_service.arrays.records import Positions, arrays_of, padded, record_of
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.packs import PackedRows
from training_service.datasets.splits import Split
from training_service.datasets.targets import TARGETS
from training_service.modalities.modality import TrainingModality

Lengths: TypeAlias = NDArray[np.int64]
"""The number of elements of each row's sequence."""
# A future for each row would hold more memory than anything else here.
_ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class PreparedDataset:
    """All rows of a dataset in the manifest's order, their targets as the task has them, and each split's positions."""

    rows: Rows
    targets: NDArray[Any]
    positions: Mapping[Split, Positions]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def seen(self) -> Positions:
        """Positions of the rows that training may look at: those of the training and the validation split, in order."""
        return np.sort(np.concatenate([self.positions[Split.TRAIN], self.positions[Split.VALIDATION]]))


def prepared_key(digest: str, modality: TrainingModality, spec: InputSpec) -> str:
    """Return the key of a dataset's prepared rows: everything that their bits depend on."""
    return f"{digest}-{modality.KIND}-{modality.preparation(spec)}"


def prepare_dataset(
    blobs: BlobStore,
    digest: str,
    manifest: DatasetManifest,
    modality: TrainingModality,
    spec: InputSpec,
    *,
    cache: ArrayCache,
    threads: Executor,
    max_size: int,
    on_rows: Callable[[int], None],
) -> PreparedDataset:
    """Return all rows of the dataset with this digest as the input spec prepares them, read only.

    They come from the cache, or are prepared into it; `on_rows` is called repeatedly with the number done. Raises
    DamagedStore, naming the row, for a row that cannot be prepared.
    """
    rows = manifest.rows

    def fill(records: NDArray[Any]) -> None:
        arrays = arrays_of(records)
        with PackedRows(blobs, manifest.packs) as packs:

            def prepare(start: int) -> int:
                end = min(start + _ROWS_AT_ONCE, len(rows))
                for position in range(start, end):
                    prepared = _prepared(packs, rows[position], modality, spec, max_size)
                    for name, array in prepared.arrays.items():
                        arrays[name][position] = padded(array, arrays[name].shape[1:])[0]
                return end

            for num_done in threads.map(prepare, range(0, len(rows), _ROWS_AT_ONCE)):
                on_rows(num_done)

    record = record_of(modality.longest(spec, rows.facts).arrays)
    records = cache.load(prepared_key(digest, modality, spec), (len(rows),), record, fill)
    on_rows(len(rows))
    targets = TARGETS[manifest.task.kind].array(manifest.task, rows)
    return PreparedDataset(Rows(arrays_of(records), len(rows)), targets, _positions(manifest))


def batch_at(rows: Rows, positions: Positions) -> Batch:
    """Return some rows as tensors in the host's memory; sequences are cut after the longest of them."""
    mask = rows.arrays.get(MASK)
    if mask is None:
        return _batch({name: array[positions] for name, array in rows.arrays.items()}, len(positions))
    length = int(np.flatnonzero(mask[positions].any(axis=0)).max(initial=0)) + 1
    chosen = {
        name: array[positions, :length] if is_sequence(name, array.shape, mask.shape) else array[positions]
        for name, array in rows.arrays.items()
    }
    return _batch(chosen, len(positions))


def whole_batch_at(rows: Rows, positions: Positions) -> Batch:
    """Return some rows as tensors in the host's memory, sequences as long as the longest may be."""
    return _batch({name: array[positions] for name, array in rows.arrays.items()}, len(positions))


def lengths_of(rows: Rows) -> Lengths | None:
    """Return the length of each row's sequence; None for rows of one size."""
    mask = rows.arrays.get(MASK)
    return None if mask is None else np.asarray(mask.sum(axis=1), np.int64)


def shortest_first(lengths: Lengths | None, positions: Positions) -> Positions:
    """Return the order of these rows by the length of their sequences, so that batches have little padding.

    Rows of one size stay in their order.
    """
    return np.arange(len(positions)) if lengths is None else np.argsort(lengths[positions], kind="stable")


def _batch(arrays: Mapping[str, NDArray[Any]], num_rows: int) -> Batch:
    return Batch({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, num_rows)


def _prepared(packs: PackedRows, row: DatasetRow, modality: TrainingModality, spec: InputSpec, max_size: int) -> Rows:
    try:
        return spec.open(spec.stored(packs.read(row)), max_size).prepare()
    except InvalidExample as error:
        raise DamagedStore(
            f"the dataset's {modality.NOUN} {row.source!r} was read when it came, and cannot be here: {error}"
        ) from error


def _positions(manifest: DatasetManifest) -> dict[Split, Positions]:
    return {split: manifest.rows.positions(split) for split in Split}
