"""What a base costs: latency and size, as measured on this device, and the estimated time of a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from model_store.architectures import Chain, run_stage
from model_store.modalities import Batch, InputSpec, Rows
from training_service.modalities.prepared_rows import batch_at
from training_service.modalities.views import further_views
from training_service.recipes.recipe import CROPS, HeadStart, Recipe

BATCH_ROWS = 32
_MAX_RUNS = 20
_BUDGET_SECONDS = 0.25
_STEP = 3
"""Forward passes that a training step takes: its own, and a backward pass of about two (arXiv:2001.08361, 2.1)."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one row alone and of a batch of 32, in float32 and without the reading of examples; bytes of tensors.

    `stage_seconds` are those of one row in a batch of 32, by stage, first to last, the head among them.
    """

    row_seconds: float
    batch_seconds: float
    size_bytes: int
    head_bytes: int
    stage_seconds: Mapping[str, float]


@dataclass(frozen=True)
class RowCounts:
    """How many rows of a dataset are in each split."""

    train: int
    validation: int
    test: int

    @property
    def seen(self) -> int:
        """Rows that training may look at."""
        return self.train + self.validation


def measure_costs(chain: Chain, spec: InputSpec, rows: Rows, device: torch.device) -> Costs:
    """Run a chain on the device for one row and for 32, rows repeated where there are fewer."""
    chain = chain.to(device)
    every = np.arange(len(rows))
    one, many = (batch_at(rows, np.resize(every, count)).to(device) for count in (1, BATCH_ROWS))

    def run(batch: Batch) -> dict[str, float]:
        with torch.inference_mode():
            batch = spec.to_input(batch)
            ends = [_now(device)]
            for _, stage in chain.named_children():
                batch = run_stage(stage, batch)
                ends.append(_now(device))
        return dict(zip(chain.stage_names, np.diff(ends).tolist(), strict=True))

    single, batched = _medians(lambda: run(one)), _medians(lambda: run(many))
    sizes = {name: sum(each.nbytes for each in chain.stage_tensors(name).values()) for name in chain.stage_names}
    return Costs(
        row_seconds=sum(single.values()),
        batch_seconds=sum(batched.values()),
        size_bytes=sum(sizes.values()),
        head_bytes=sizes[chain.stage_names[-1]],
        stage_seconds={name: seconds / BATCH_ROWS for name, seconds in batched.items()},
    )


def training_seconds(
    recipe: Recipe, costs: Costs, trained: Sequence[str], counts: RowCounts, fit_seconds: float = 0.0
) -> float:
    """Estimate the time of a training, without the reading of examples; `fit_seconds` are those of one fit of the head.

    Frozen stages run once over each row and each of its views, unless every step crops anew.
    """
    forward, views = sum(costs.stage_seconds.values()), 1 + len(further_views(recipe, 0))
    probe = forward * (views * counts.seen + counts.test) + fit_seconds * views
    if not recipe.has_steps:
        return probe
    names = list(costs.stage_seconds)
    first = names.index(trained[0]) if trained else len(names) - 1
    frozen = sum(list(costs.stage_seconds.values())[:first])
    moved = forward - frozen
    epoch = counts.train * _STEP * moved + counts.validation * moved
    if recipe.augmentation in CROPS and not recipe.view_count:
        once, epoch = frozen * (counts.validation + counts.test), epoch + counts.train * frozen
    else:
        once = frozen * (views * counts.seen + counts.test)
    start = forward * counts.seen + fit_seconds if recipe.head_start is HeadStart.LINEAR_PROBE else 0.0
    return once + start + recipe.epoch_count * epoch + moved * counts.test


def _medians(run: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Return the medians of a few runs, by name, without the first one, unless that took most of the time there is."""
    begun = time.perf_counter()
    found = [run()]
    while time.perf_counter() - begun < _BUDGET_SECONDS and len(found) <= _MAX_RUNS:
        found.append(run())
    kept = found[1:] or found
    return {name: median(each[name] for each in kept) for name in found[0]}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
