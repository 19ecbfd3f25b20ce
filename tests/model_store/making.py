"""Small real things that the tests of the store publish."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from model_store.bases.tabular import load_random_mlp
from model_store.blobs.local import LocalBlobs
from model_store.calibration import write_calibration
from model_store.errors import MissingBlob
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Rows, X
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.tasks import Classification
from model_store.tensors.stages import write_stage
from model_store.transactions.publication import Publication

HEAD = {"kind": "linear", "outputs": 2, "activation": "softmax"}


def manifest(store: ModelStore, *seeds: int) -> tuple[Manifest, list[str]]:
    """Write one tiny stage for each seed; return their manifest and the digests that were new."""
    stages, new = [], []
    for position, seed in enumerate(seeds):
        tensors = {"weight": torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))}
        blob = write_stage(store.blobs, tensors)
        stages.append(ManifestStage(f"stage{position}", blob.digest))
        if blob.added_bytes:
            new.append(blob.digest)
    made = Manifest("tiny", {}, tuple(stages), {"kind": "image"}, Classification(("a", "b")), HEAD, 4)
    return made, new


def registered_dataset(store: ModelStore, dataset_id: str) -> Dataset:
    """Register a dataset without rows; its manifest is any blob."""
    digest = store.blobs.put([dataset_id.encode()]).digest
    dataset = Dataset(dataset_id, digest, (), 3, 4, {}, datetime.now(UTC))
    return DatasetStore(store._database, store.blobs).register(dataset)


def publication(
    store: ModelStore, model_id: str = "flowers", seeds: tuple[int, ...] = (1, 2), **more: Any
) -> Publication:
    """Return a publication of a tiny model."""
    made, new = manifest(store, *seeds)
    return Publication(model_id, made, new_digests=new, **more)


def calibrated(
    store: ModelStore, model_id: str = "flowers", seeds: tuple[int, ...] = (1, 2), **more: Any
) -> Publication:
    """Return a publication of a tiny model with rows to calibrate by, the same for all, and logits by its last seed."""
    given = publication(store, model_id, seeds, **more)
    rows = Rows({X: torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).numpy()}, 5)
    chain = load_random_mlp([4, 8], ["a", "b"], seed=seeds[-1]).chain
    written = write_calibration(store.blobs, chain, rows, ValuesInputSpec(4))
    return replace(given, calibration=written, new_digests=[*given.new_digests, *written.new_digests])


LONG_AGO = time.time() - 100_000
"""Older than any grace period of a test."""


def age(blobs: LocalBlobs, keep: Collection[str] = ()) -> None:
    """Make every blob but these look old."""
    for blob in blobs.all():
        if blob.digest not in keep:
            with suppress(MissingBlob, FileNotFoundError):
                os.utime(blobs.path(blob.digest), (LONG_AGO, LONG_AGO))


def age_unfinished(blobs: LocalBlobs) -> None:
    """Make what writers are writing look as if they had died long ago."""
    for each in blobs.unfinished():
        with suppress(FileNotFoundError):
            os.utime(each.id, (LONG_AGO, LONG_AGO))
