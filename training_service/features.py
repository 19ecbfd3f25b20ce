"""Runs frozen stages once over a dataset and keeps what they put out, so that no later pass runs them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.inputs import ImageInputSpec, Pixels, normalise
from training_service.pixels import Positions
from training_service.scratch import mapped_array

Activations = NDArray[np.float32]

BATCH_SIZE = 32


class FrozenPrefix:
    """The first stages of a chain, which do not train; in eval mode on `device`."""

    def __init__(self, stages: nn.Module, spec: ImageInputSpec, device: torch.device) -> None:
        self._stages = stages.eval().requires_grad_(requires_grad=False)
        self._spec = spec
        self._device = device

    def run(
        self,
        pixels: Pixels,
        positions: Positions,
        *,
        folder: Path,
        on_rows: Callable[[int], None],
        mirrored: bool = False,
    ) -> Activations:
        """Return float32 activations [n, …] in the place of each row of `pixels`; rows not asked for stay zero.

        `on_rows` is told after each batch how many rows it had; `mirrored` flips images left to right first.
        """
        kept: Activations | None = None
        for batch in batches(positions):
            output = self._output(pixels[batch], mirrored=mirrored)
            if kept is None:
                kept = cast("Activations", mapped_array(folder, (len(pixels), *output.shape[1:]), np.float32))
            kept[batch] = output.cpu().numpy()
            on_rows(len(batch))
        if kept is None:
            raise ValueError("there are no rows to run")
        return kept

    def _output(self, pixels: Pixels, *, mirrored: bool) -> Tensor:
        with torch.inference_mode():
            rows = torch.from_numpy(pixels).to(self._device)
            output: Tensor = self._stages(normalise(rows.flip(2) if mirrored else rows, self._spec))
            return output


def batches(positions: Positions, size: int = BATCH_SIZE) -> Iterator[Positions]:
    """Yield positions in batches."""
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
