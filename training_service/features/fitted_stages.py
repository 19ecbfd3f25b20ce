"""Fits the stages of a backbone that are not trained by gradients to the training rows, before anything else runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_store.architectures import Chain, reads, run_stage
from model_store.modalities import InputSpec
from training_service.arrays.records import Positions
from training_service.modalities import STAGE_FITTERS
from training_service.modalities.prepared_rows import PreparedDataset, batch_at

_MAX_ROWS = 100_000
"""More rows than these change a mean or a quantile by less than its meaning."""


def fit_stages(
    chain: Chain, data: PreparedDataset, spec: InputSpec, train: Positions, tell: Callable[[str], None]
) -> tuple[str, ...]:
    """Fit the stages of the backbone that were not fitted yet, first to last; return their names, and tell them.

    An even spread of at most 100,000 training rows is used, and kept in memory on its way through the stages.
    """
    waiting = [name for name, stage in chain.backbone if type(stage) in STAGE_FITTERS and not stage.is_fitted]
    if not waiting:
        return ()
    chosen = train[np.linspace(0, len(train) - 1, min(len(train), _MAX_ROWS)).astype(np.int64)]
    batch, targets = spec.to_input(batch_at(data.rows, chosen)), data.targets[chosen]
    with torch.inference_mode():
        for name, stage in chain.backbone:
            if name in waiting:
                (read,) = reads(stage)
                _fit(stage, batch.tensors[read].numpy(), targets)
            if name == waiting[-1]:
                break
            batch = run_stage(stage, batch)
    tell(f"fitted to the training rows: {', '.join(waiting)}")
    return tuple(waiting)


def _fit(stage: nn.Module, values: NDArray[np.float32], targets: NDArray[Any]) -> None:
    """Fill the buffers of a stage."""
    for name, array in STAGE_FITTERS[type(stage)](stage, values, targets).items():
        stage.get_buffer(name).copy_(torch.from_numpy(array))
    stage.get_buffer("num_rows").fill_(len(values))
