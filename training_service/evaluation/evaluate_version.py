"""Measures any version on any rows: what the gate, EvaluateModelVersion and reports have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model_store.architectures import Chain, Head, build
from model_store.blobs import BlobStore
from model_store.calibration import batch_of
from model_store.errors import IllegalState, InvalidInput
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest
from model_store.modalities import Rows, read_input_spec
from model_store.modalities.image.spec import PIXELS
from model_store.records.metrics import Metrics
from model_store.tensors.stages import read_stages
from training_service.features.frozen_features import batches
from training_service.modalities.image.pixels import LabelledPixels, Positions
from training_service.tasks.classification.metrics import Labels, Logits, measure

_BATCH_SIZE = 64
_SHOWN_LABELS = 10


@dataclass(frozen=True)
class Evaluation:
    """How good a version is on some rows: logits [n, labels] and labels [n] are those of the rows, in their order.

    `names` are the version's `num_known` labels, then those of rows that it does not know, whose logits are -inf.
    """

    metrics: Metrics
    logits: Logits
    labels: Labels
    names: tuple[str, ...]
    num_known: int
    temperature: float


def evaluate_version(
    blobs: BlobStore,
    manifest: Manifest,
    data: LabelledPixels,
    labels: Sequence[str],
    positions: Positions,
    *,
    split: str,
    device: torch.device,
    check_going_on: Callable[[], None],
    on_rows: Callable[[int], None] = lambda _: None,
    allow_unknown_labels: bool = False,
) -> Evaluation:
    """Run a version over some rows of a dataset, as it is served in float32, and measure it.

    `data` must be decoded by the version's own input spec, `labels` are the dataset's: they are matched by name. A row
    whose label the version lacks is wrong whatever it answers: that is an error, unless `allow_unknown_labels`, which
    counts such rows as wrong. `check_going_on` is called between batches and ends the evaluation by raising; `on_rows`
    is told how many rows are done. Raises InvalidInput for labels and IllegalState for a version that cannot be
    evaluated, and MissingBlob, CorruptBlob or InvalidManifest where it cannot be read.
    """
    names, indices = match_labels(manifest.names, labels, data.labels[positions], allow_unknown=allow_unknown_labels)
    chain = read_chain(blobs, manifest).to(device)
    spec = read_input_spec(manifest.input_spec)
    logits = np.full((len(positions), len(names)), -np.inf, np.float32)
    num_done = 0
    for batch in batches(positions, _BATCH_SIZE):
        check_going_on()
        with torch.inference_mode():
            rows = batch_of(Rows({PIXELS: data.pixels[batch]}, len(batch)), device)
            logits[num_done : num_done + len(batch), : len(manifest.names)] = chain(spec.to_input(rows)).cpu().numpy()
        num_done += len(batch)
        on_rows(num_done)
    metrics = measure(logits, indices, names, split, manifest.task.temperature if manifest.task else 1.0)
    return Evaluation(
        metrics, logits, indices, names, len(manifest.names), manifest.task.temperature if manifest.task else 1.0
    )


def match_labels(
    known: Sequence[str], labels: Sequence[str], rows: Labels, *, allow_unknown: bool
) -> tuple[tuple[str, ...], Labels]:
    """Return all labels, those of a version first, and for rows of a dataset which of these theirs is.

    `rows` index the dataset's `labels`. Of a version's equal labels the first one counts. Raises InvalidInput where
    there are no rows, where rows have labels that the version lacks, unless they are allowed, and where it has none.
    """
    if len(rows) == 0:
        raise InvalidInput.of("split", "has no rows: choose another one")
    found = [labels[index] for index in np.unique(rows)]
    unknown = [label for label in found if label not in set(known)]
    if len(unknown) == len(found) or (unknown and not allow_unknown):
        shown = ", ".join(repr(label) for label in unknown[:_SHOWN_LABELS])
        more = f" and {len(unknown) - _SHOWN_LABELS} more" if len(unknown) > _SHOWN_LABELS else ""
        raise InvalidInput.of(
            "dataset", f"has labels that the version lacks, {shown}{more}: choose another dataset or version"
        )
    names = (*known, *unknown)
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    index_of = np.array([places.get(label, -1) for label in labels])
    return names, index_of[rows]


def check_evaluable(manifest: Manifest) -> Head:
    """Return the head of a version; raise IllegalState where it has no labels or takes no images."""
    head = check_manifest(manifest)
    if not head.outputs:
        raise IllegalState("the version is a backbone without labels: fine-tune it first")
    if manifest.input_spec["kind"] != "image":
        raise IllegalState("the version takes no images, and the dataset holds images")
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
