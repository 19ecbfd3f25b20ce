"""Rows to fit heads on, and what a fitted head answers once it was stored and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from model_store.architectures import HEAD, Chain, Head, HeadKind, build, check_stage_tensors
from model_store.architectures.activation import activated
from model_store.blobs.local import LocalBlobs
from model_store.modalities import Batch
from model_store.tasks import Activation
from model_store.tensors.stages import read_stage, write_stage
from training_service.heads import HEADS, FitRows

Numbers = npt.NDArray[np.float64]
ACTIVATIONS: dict[str, Activation] = {"classification": "softmax", "multi_label": "sigmoid", "regression": "identity"}


def features(num_rows: int, width: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return seeded rows of columns of different scales, one of them constant."""
    rows = np.random.default_rng(seed).normal(size=(num_rows, width)) * np.logspace(-2, 2, width) + 3
    rows[:, 0] = 7
    return rows.astype(np.float32)


def labels_of(rows: npt.NDArray[np.float32], num_labels: int) -> npt.NDArray[np.int64]:
    """Return a label for each row that its numbers decide, but for noise."""
    random = np.random.default_rng(1)
    scaled = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-9)
    scores = scaled @ random.normal(size=(rows.shape[1], num_labels)) + random.normal(size=(len(rows), num_labels))
    return scores.argmax(axis=1).astype(np.int64)


def flags_of(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return four flags for each row: two that its numbers decide, one that all rows have, and one that none has."""
    one, other = labels_of(rows, 2), labels_of(rows[:, ::-1], 3) == 0
    return np.stack([one, other, np.ones(len(rows)), np.zeros(len(rows))], axis=1).astype(np.float32)


def fit_rows(rows: npt.NDArray[np.float32], targets: Any, task: str, num_outputs: int, **more: Any) -> FitRows:
    """Return rows to fit a head on."""
    return FitRows(rows.astype(np.float64), targets, task, num_outputs, **more)


def stored_head(kind: str, rows: FitRows, settings: dict[str, Any], folder: Path) -> Chain:
    """Fit a head on rows, store its tensors, and return a chain of rows that ends in what was read of them."""
    found = HEADS[kind].fit(rows, settings)
    blobs = LocalBlobs(folder)
    read = read_stage(blobs, write_stage(blobs, found.tensors).digest)
    head = Head(cast("HeadKind", kind), rows.num_outputs, ACTIVATIONS[rows.task], found.arguments)
    head = Head.from_json(head.to_json())
    arguments = {"size": rows.features.shape[1]}
    check_stage_tensors("rows", arguments, head, HEAD, {name: (each.shape, each.dtype) for name, each in read.items()})
    chain = build("rows", arguments, head).eval()
    chain.load_stage(HEAD, read)
    return chain


def answers(chain: Chain, rows: npt.NDArray[np.float32], task: str = "classification") -> Numbers:
    """Return the scores, or the values, of rows."""
    outputs = chain(Batch.of(torch.from_numpy(rows)))
    assert outputs.dtype == torch.float32
    assert bool(outputs.isfinite().all())
    return activated(outputs, ACTIVATIONS[task]).numpy().astype(np.float64)
