"""Runs frozen stages once over a dataset and keeps what they put out, so that no later pass runs them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.inputs import ImageInputSpec, Pixels
from training_service.augment import PLAIN, View
from training_service.feature_cache import FeatureCache
from training_service.pixels import Positions
from training_service.scratch import mapped_array

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
        self._stages = nn.Sequential(*stages.values()).eval().requires_grad_(requires_grad=False)
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
        shape = self._output(pixels, positions[:1], view).shape[1:]
        kept = mapped_array(folder, (len(pixels), *shape), np.float32)
        for chunk in batches(positions, _ROWS_KEPT_AT_ONCE):
            num_told = 0

            def fill(rows: Activations, chunk: Positions = chunk) -> None:
                nonlocal num_told
                for batch in batches(np.arange(len(chunk))):
                    rows[batch] = self._output(pixels, chunk[batch], view).cpu().numpy()
                    num_told += len(batch)
                    on_rows(len(batch))

            kept[chunk] = self._cache.load(self._names, chunk, (len(chunk), *shape), fill, view=view.name)
            on_rows(len(chunk) - num_told)
        return cast("Activations", kept)

    def _output(self, pixels: Pixels, positions: Positions, view: View) -> Tensor:
        with torch.inference_mode():
            rows = torch.from_numpy(pixels[positions]).to(self._device)
            output: Tensor = self._stages(view.inputs(rows, self._spec, int(positions[0])))
            return output


def batches(positions: Positions, size: int = BATCH_SIZE) -> Iterator[Positions]:
    """Yield positions in batches."""
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
