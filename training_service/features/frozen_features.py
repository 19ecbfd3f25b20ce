"""Runs frozen stages once over a dataset and keeps their output, so that no later pass runs them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_store.architectures import run_stage
from model_store.modalities import EMBEDDING, Batch, InputSpec, Rows, X
from training_service.arrays.read_ahead import read_ahead
from training_service.arrays.records import Positions, arrays_of, padded, record_of
from training_service.arrays.scratch import mapped_array
from training_service.features.feature_cache import FeatureCache
from training_service.modalities import STAGE_FITTERS, TrainingModality
from training_service.modalities.prepared_rows import batch_at, lengths_of, shortest_first, whole_batch_at
from training_service.modalities.views import PLAIN, View

BATCH_SIZE = 32
# The work that a killed job repeats at most: some seconds.
_ROWS_KEPT_AT_ONCE = 32 * BATCH_SIZE


class FrozenPrefix:
    """The first stages of a chain, by name, which do not train; in eval mode on `device`.

    Stages before the first one that is fitted to rows have entries of their own in the cache: whatever is fitted behind
    them, they run once. With `behind`, the names of such stages, the rows are their output.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        modality: TrainingModality,
        spec: InputSpec,
        device: torch.device,
        cache: FeatureCache,
        *,
        behind: Sequence[str] = (),
    ) -> None:
        self._by_name = stages
        self._behind = tuple(behind)
        self._names = (*behind, *stages)
        self._stages = nn.ModuleList(stages.values()).eval().requires_grad_(requires_grad=False)
        self._modality = modality
        self._spec = spec
        self._device = device
        self._cache = cache

    def run(
        self,
        rows: Rows,
        groups: Sequence[Positions],
        *,
        folder: Path,
        on_rows: Callable[[int], None],
        view: View = PLAIN,
    ) -> Rows:
        """Return the output, arrays [n, …] by name, at the positions of these rows; other positions stay zero.

        It comes from the cache, or is computed into it. Each group of rows has its own entries: a later run of one
        group finds them. `on_rows` is called repeatedly with the number of further rows done.
        """
        first = next((group[:1] for group in groups if len(group)), None)
        if first is None:
            raise ValueError("there are no rows to run")
        unfitted = {} if self._behind else before_fitted(self._by_name)
        if 0 < len(unfitted) < len(self._by_name):
            own = self._modality, self._spec, self._device, self._cache
            output = FrozenPrefix(unfitted, *own).run(rows, groups, folder=folder, on_rows=on_rows, view=view)
            others = {name: stage for name, stage in self._by_name.items() if name not in unfitted}
            rest = FrozenPrefix(others, *own, behind=tuple(unfitted))
            return rest.run(output, groups, folder=folder, on_rows=lambda _: None, view=view)
        record = record_of(_on_host(self._output(whole_batch_at(rows, first).to(self._device), view, int(first[0]))))
        prepared_by = self._modality.preparation(self._spec)
        lengths = lengths_of(rows)
        kept: NDArray[Any] = mapped_array(folder, (len(rows),), record)
        for chunk in (each for group in groups for each in batches(group, _ROWS_KEPT_AT_ONCE)):
            num_told = 0

            def fill(records: NDArray[Any], chunk: Positions = chunk) -> None:
                nonlocal num_told
                arrays, order = arrays_of(records), shortest_first(lengths, chunk)
                for output in self._outputs(rows, chunk[order], view):
                    places = order[num_told : num_told + len(output)]
                    for name, array in _on_host(output).items():
                        arrays[name][places] = padded(array, arrays[name].shape[1:])
                    num_told += len(output)
                    on_rows(len(output))

            kept[chunk] = self._cache.load(self._names, chunk, record, fill, prepared_by=prepared_by, view=view.name)
            on_rows(len(chunk) - num_told)
        return Rows(arrays_of(kept), len(rows))

    def _outputs(self, rows: Rows, positions: Positions, view: View) -> Iterator[Batch]:
        """Yield the output for these rows, in batches."""
        read = read_ahead(lambda batch: batch_at(rows, batch), batches(positions), self._device)
        for batch, each in read:
            yield self._output(each, view, int(batch[0]))

    def _output(self, rows: Batch, view: View, position: int) -> Batch:
        with torch.inference_mode():
            outputs = rows if self._behind else self._modality.viewed(rows, self._spec, view, position)
            for stage in self._stages:
                outputs = run_stage(stage, outputs)
        return outputs


def before_fitted(stages: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the stages before the first one of a kind that is fitted to rows; all where there is none."""
    return dict(takewhile(lambda named: type(named[1]) not in STAGE_FITTERS, stages.items()))


def embeddings(rows: Rows) -> NDArray[np.float32]:
    """Return the embeddings [n, d] in the output of a whole backbone."""
    return rows.arrays.get(EMBEDDING, rows.arrays[X])


def batches(positions: Positions, size: int = BATCH_SIZE) -> Iterator[Positions]:
    """Yield positions in batches."""
    for start in range(0, len(positions), size):
        yield positions[start : start + size]


def _on_host(batch: Batch) -> dict[str, NDArray[Any]]:
    return {name: tensor.cpu().numpy() for name, tensor in batch.tensors.items()}
