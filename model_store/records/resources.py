"""The records that the store returns: frozen, without a session or a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from model_store.names import VersionName, dataset_name, job_name, model_name
from model_store.records.aliases import Alias
from model_store.records.metrics import Metrics


@dataclass(frozen=True)
class Notes:
    """The texts and tags of a model or a version, which people may change at any time."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Timestamps:
    """When a resource came, was changed and was deleted; `etag` changes with every change.

    A deleted resource can be brought back until `purge_at`; after that the collector may remove it for good.
    """

    etag: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    purge_at: datetime | None = None

    @property
    def is_deleted(self) -> bool:
        """Say whether it was deleted."""
        return self.deleted_at is not None


@dataclass(frozen=True)
class Model:
    """A named line of versions; `last_number` is the highest version number ever given, 0 before the first."""

    id: str
    last_number: int
    notes: Notes
    timestamps: Timestamps
    aliases: tuple[Alias, ...]

    @property
    def name(self) -> str:
        """Resource name."""
        return model_name(self.id)


@dataclass(frozen=True)
class StoredStage:
    """One stage of a version's chain, and the blob that holds its tensors."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Lineage:
    """Where a version came from; an import has no base, dataset or job."""

    base: VersionName | None = None
    dataset_id: str | None = None
    job_id: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def dataset_name(self) -> str:
        """Resource name of the dataset; empty for an import."""
        return dataset_name(self.dataset_id) if self.dataset_id is not None else ""

    @property
    def job_name(self) -> str:
        """Resource name of the training job; empty for an import."""
        return job_name(self.job_id) if self.job_id is not None else ""


@dataclass(frozen=True)
class CalibrationDigests:
    """The blobs of a version's calibration: held-out rows, and the float32 logits that it gives for them."""

    rows: str
    logits: str


@dataclass(frozen=True)
class StoredCalibration(CalibrationDigests):
    """A version's calibration, and how large its blobs are."""

    rows_bytes: int
    logits_bytes: int

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of its blobs by digest."""
        return {self.rows: self.rows_bytes, self.logits: self.logits_bytes}


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model: immutable except for its notes.

    `metric_values` are the numbers for filters and orders of listings: those of `metrics`, and numbers of the
    publisher. `files` are blobs that its input spec names, such as a tokenizer; `answers` is the blob of the answers
    for rows that were held out of its training. The `principal` published it, or created the training job that did.
    """

    name: VersionName
    manifest_digest: str
    architecture: str
    modality: str
    task: str | None
    num_outputs: int
    stages: tuple[StoredStage, ...]
    lineage: Lineage
    metrics: Metrics | None
    metric_values: Mapping[str, float]
    added_bytes: int
    notes: Notes
    timestamps: Timestamps
    aliases: tuple[str, ...]
    calibration: StoredCalibration | None = None
    files: tuple[StoredStage, ...] = ()
    answers: StoredStage | None = None
    principal: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of all its stages, and of the files of its input spec."""
        return sum(blob.size_bytes for blob in (*self.stages, *self.files))

    @property
    def blob_sizes(self) -> dict[str, int]:
        """Bytes of its blobs by digest, the manifest left out: first to last stage, files, then the calibration."""
        blobs = {blob.digest: blob.size_bytes for blob in (*self.stages, *self.files)}
        return blobs | (self.calibration.sizes if self.calibration is not None else {})


@dataclass(frozen=True)
class Dataset:
    """An immutable set of labelled rows, assigned to splits.

    `digest` names the blob of its manifest, `packs` the blobs of its rows; `summary` holds the data of a listing: label
    counts, split, rejected files. It contains the rows of the dataset `parent_id`, if any, and more. A deleted dataset
    can be brought back until `purge_at`. The `etag` changes at deletion and return; the `principal` registered it.
    """

    id: str
    digest: str
    packs: tuple[str, ...]
    num_rows: int
    size_bytes: int
    summary: Mapping[str, Any]
    created_at: datetime
    parent_id: str | None = None
    deleted_at: datetime | None = None
    purge_at: datetime | None = None
    etag: str = ""
    principal: str = ""

    @property
    def name(self) -> str:
        """Resource name."""
        return dataset_name(self.id)

    @property
    def parent_name(self) -> str:
        """Resource name of the dataset that it continues; empty without one."""
        return dataset_name(self.parent_id) if self.parent_id is not None else ""
