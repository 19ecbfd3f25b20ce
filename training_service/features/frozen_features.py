"""Runs frozen stages once over a dataset and keeps what they put out, so that no later pass runs them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.architectures import run_stage
from model_store.modalities import Batch
from model_store.modalities.image.spec import ImageInputSpec, Pixels
from training_service.arrays.read_ahead import read_ahead
from training_service.arrays.scratch import mapped_array
from training_service.features.feature_cache import FeatureCache
from training_service.modalities.image.augment import PLAIN, View
from training_service.modalities.image.pixels import Positions

Activations = NDArray[np.float32]

BATCH_SIZE = 32
# What a job that is killed has to compute again, at most: seconds' worth.
_ROWS_KEPT_AT_ONCE = 32 * BATCH_SIZE


class FrozenPrefix:
    """The first stages of a chain, by name, which do not train; in eval mode on `device`."""

    def __init__(
        self, stages: Mapping[str, nn.Module], spec: ImageInputSpec, device: torch.device, cache: FeatureCache
    ) -> None:
        self._names = tuple(stages)
        self._stages = nn.ModuleList(stages.values()).eval().requires_grad_(requires_grad=False)
        self._spec = spec
        self._device = device
        self._cache = cache

    def run(
        self,
        pixels: Pixels,
        positions: Positions,
        *,
        folder: Path,
        on_rows: Callable[[int], None],
        view: View = PLAIN,
    ) -> Activations:
        """Return float32 activations [n, …] in the place of each row of `pixels`; rows not asked for stay zero.

        They come from the cache, or are computed into it. `on_rows` is told, again and again, how many rows more are
        done.
        """
        if not len(positions):
            raise ValueError("there are no rows to run")
        shape = next(self._outputs(pixels, positions[:1], view)).shape[1:]
        kept = mapped_array(folder, (len(pixels), *shape), np.float32)
        for chunk in batches(positions, _ROWS_KEPT_AT_ONCE):
            num_told = 0

            def fill(rows: Activations, chunk: Positions = chunk) -> None:
                nonlocal num_told
                for output in self._outputs(pixels, chunk, view):
                    rows[num_told : num_told + len(output)] = output.cpu().numpy()
                    num_told += len(output)
                    on_rows(len(output))

            kept[chunk] = self._cache.load(self._names, chunk, (len(chunk), *shape), fill, view=view.name)
            on_rows(len(chunk) - num_told)
        return cast("Activations", kept)

    def _outputs(self, pixels: Pixels, positions: Positions, view: View) -> Iterator[Tensor]:
        """Yield what comes out for these rows, in batches."""
        rows = read_ahead(lambda batch: torch.from_numpy(pixels[batch]), batches(positions), self._device)
        for batch, each in rows:
            with torch.inference_mode():
                outputs = Batch.of(view.inputs(each, self._spec, int(batch[0])))
                for stage in self._stages:
                    outputs = run_stage(stage, outputs)
                yield outputs.x


def batches(positions: Positions, size: int = BATCH_SIZE) -> Iterator[Positions]:
    """Yield positions in batches."""
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
