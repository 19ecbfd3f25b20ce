"""Measures any version on any rows: what the gate, EvaluateModelVersion and reports have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from model_store.architectures import Chain, Head, build
from model_store.blobs import BlobStore
from model_store.errors import IllegalState, InvalidInput
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest
from model_store.modalities import Batch, Rows, read_input_spec
from model_store.records.metrics import Metrics
from model_store.tasks import Task
from model_store.tensors.stages import read_stages
from training_service.arrays.records import Positions
from training_service.features.frozen_features import batches
from training_service.modalities.prepared_rows import PreparedDataset, batch_at, lengths_of, shortest_first
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Answers, Outputs

_BATCH_SIZE = 64


@dataclass(frozen=True)
class Evaluation:
    """How good a version is on some rows: its answers for them, in their order.

    `unknown` are the labels or targets of the dataset that the version lacks. Outputs for such labels are -inf.
    """

    metrics: Metrics
    answers: Answers
    unknown: tuple[str, ...]


def evaluate_version(
    blobs: BlobStore,
    manifest: Manifest,
    data: PreparedDataset,
    task: Task,
    positions: Positions,
    *,
    split: str,
    device: torch.device,
    check_going_on: Callable[[], None],
    on_rows: Callable[[int], None] = lambda _: None,
    allow_unknown_labels: bool = False,
) -> Evaluation:
    """Run a version over some rows of a dataset, as it is served in float32, and measure it.

    `data` must be prepared by the version's own input spec, `task` is the dataset's: labels or targets are matched by
    name. A row with a label that the version lacks is wrong whatever it answers: that is an error, unless
    `allow_unknown_labels`, which counts it as wrong. `check_going_on` is called between batches and ends the evaluation
    by raising; `on_rows` is told how many rows are done. Raises InvalidInput for labels, targets and another task,
    IllegalState for a version that cannot be evaluated, and MissingBlob, CorruptBlob or InvalidManifest where it cannot
    be read.
    """
    own = checked_task(manifest, task)
    training_task = TRAINING_TASKS[own.kind]
    matched = training_task.match(own, task, data.targets[positions], allow_unknown=allow_unknown_labels)
    chain = read_chain(blobs, manifest).to(device)
    spec = read_input_spec(manifest.input_spec)
    outputs = outputs_of(chain, spec.to_input, data.rows, positions, device, check_going_on, on_rows)
    answers = Answers(matched.chosen(outputs), matched.targets, matched.task)
    return Evaluation(training_task.measure(answers, split), answers, matched.unknown)


def outputs_of(
    chain: Chain,
    to_input: Callable[[Batch], Batch],
    rows: Rows,
    positions: Positions,
    device: torch.device,
    check_going_on: Callable[[], None],
    on_rows: Callable[[int], None] = lambda _: None,
) -> Outputs:
    """Return the outputs [n, outputs] of a chain on a device for the rows at these positions, in their order."""
    outputs: Outputs | None = None
    num_done = 0
    for places in batches(shortest_first(lengths_of(rows), positions), _BATCH_SIZE):
        check_going_on()
        with torch.inference_mode():
            found = chain(to_input(batch_at(rows, positions[places]).to(device))).cpu().numpy()
        outputs = np.empty((len(positions), found.shape[1]), np.float32) if outputs is None else outputs
        outputs[places] = found
        num_done += len(places)
        on_rows(num_done)
    if outputs is None:
        raise ValueError("there are no rows to run")
    return outputs


def checked_task(manifest: Manifest, task: Task) -> Task:
    """Return a version's task; raise IllegalState where it has none, and InvalidInput where a dataset has another."""
    if manifest.task is None:
        raise IllegalState("the version is a backbone without labels: fine-tune it first")
    if manifest.task.kind != task.kind:
        raise InvalidInput.of(
            "dataset", f"has targets of {task.kind}, and the version's task is {manifest.task.kind}: choose another one"
        )
    return manifest.task


def check_evaluable(manifest: Manifest) -> Head:
    """Return the head of a version; raise IllegalState where it has no task."""
    head = check_manifest(manifest)
    if manifest.task is None:
        raise IllegalState("the version is a backbone without labels: fine-tune it first")
    return head


def read_chain(blobs: BlobStore, manifest: Manifest) -> Chain:
    """Return a version's chain in eval mode, every byte verified.

    Raises what `check_evaluable` raises, and MissingBlob, CorruptBlob or InvalidManifest.
    """
    chain = build(manifest.architecture, manifest.arguments, check_evaluable(manifest))
    read = read_stages(blobs, [stage.digest for stage in manifest.stages])
    for stage in manifest.stages:
        chain.load_stage(stage.name, read[stage.digest])
    return chain.eval().requires_grad_(requires_grad=False)
