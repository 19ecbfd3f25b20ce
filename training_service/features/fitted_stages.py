"""Fits the stages of a backbone that are not trained by gradients to the training rows, before anything else runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from model_store.architectures import Chain, reads, run_stage
from model_store.modalities import InputSpec, Rows
from training_service.arrays.records import Positions
from training_service.features.frozen_features import before_fitted
from training_service.modalities import STAGE_FITTERS
from training_service.modalities.modality import FittedOn
from training_service.modalities.prepared_rows import PreparedDataset, batch_at
from training_service.recipes.recipe import Recipe
from training_service.recipes.selection import SELECT

_MAX_ROWS = 100_000
"""More rows than these change a mean or a quantile by less than its meaning."""


def fit_stages(
    chain: Chain,
    data: PreparedDataset,
    spec: InputSpec,
    train: Positions,
    recipe: Recipe,
    tell: Callable[[str], None],
    run: Callable[[Mapping[str, nn.Module]], Rows],
) -> Mapping[str, str]:
    """Fit the stages of the backbone that were not fitted yet, first to last; return a digest of each, and tell them.

    A stage that selects features is fitted anew where the recipe says how. An even spread of at most 100,000 training
    rows is used, and kept in memory on its way through the stages. `run` returns the output of the stages before the
    first of a kind that is fitted, such as an encoder, for all rows in their places.
    """
    fitted: dict[str, str] = {}
    waiting = [name for name, stage in chain.backbone if _waits(name, stage, recipe)]
    if not waiting:
        return fitted
    chosen = train[np.linspace(0, len(train) - 1, min(len(train), _MAX_ROWS)).astype(np.int64)]
    stages = dict(chain.backbone)
    unfitted = before_fitted(stages)
    batch = batch_at(run(unfitted), chosen) if unfitted else spec.to_input(batch_at(data.rows, chosen))
    before: list[nn.Module] = []
    with torch.inference_mode():
        for name in [each for each in stages if each not in unfitted]:
            if name in waiting:
                (read,) = reads(stages[name])
                values = batch.tensors[read].numpy()
                fitted[name] = _fit(stages[name], FittedOn(values, data.targets[chosen], before, recipe))
            if name == waiting[-1]:
                break
            batch = run_stage(stages[name], batch)
            before.append(stages[name])
    tell(f"fitted to the training rows: {', '.join(waiting)}")
    return fitted


def _waits(name: str, stage: nn.Module, recipe: Recipe) -> bool:
    if type(stage) not in STAGE_FITTERS:
        return False
    return not stage.is_fitted or (name == SELECT and recipe.select is not None)


def _fit(stage: nn.Module, rows: FittedOn) -> str:
    """Fill the buffers of a stage; return a digest of them."""
    hashed = hashlib.sha256()
    for name, array in sorted(STAGE_FITTERS[type(stage)](stage, rows).items()):
        stage.get_buffer(name).copy_(torch.from_numpy(array))
        hashed.update(array.tobytes())
    stage.get_buffer("num_rows").fill_(len(rows.values))
    return hashed.hexdigest()
