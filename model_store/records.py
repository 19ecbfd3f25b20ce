"""What the store hands out: frozen records that hold no session and no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from model_store.lifecycle import ENDED, JobState
from model_store.names import AliasName, VersionName, dataset_name, job_name, model_name
from model_store.promotion import Promotion, PromotionSpec


@dataclass(frozen=True)
class LabelMetrics:
    """Quality for one label; every share is 0 to 1."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Metrics:
    """Quality of a version on one split; `confusion_matrix[true][predicted]` counts rows.

    Scores are the softmax of logits divided by `temperature`; `uncalibrated_error` is the calibration error of those
    that are not divided. What was not measured, or has no value on these rows, is None.
    """

    split: str
    num_rows: int
    accuracy: float
    macro_f1: float
    expected_calibration_error: float
    labels: tuple[LabelMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    top5_accuracy: float | None = None
    log_loss: float | None = None
    roc_auc: float | None = None
    accuracy_interval: Interval | None = None
    macro_f1_interval: Interval | None = None
    uncalibrated_error: float | None = None
    temperature: float | None = None

    @property
    def values(self) -> dict[str, float]:
        """Return the numbers that sum the measurement up."""
        numbers = {name: getattr(self, name) for name in (*METRIC_NUMBERS, *OPTIONAL_METRIC_NUMBERS)}
        return {name: number for name, number in numbers.items() if number is not None}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without what is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Metrics:
        """Read what `to_json` wrote."""
        labels = tuple(LabelMetrics(**each) for each in values["labels"])
        matrix = tuple(tuple(row) for row in values["confusion_matrix"])
        intervals = {name: Interval(**values[name]) for name in METRIC_INTERVALS if name in values}
        return cls(**{**values, "labels": labels, "confusion_matrix": matrix, **intervals})


METRIC_NUMBERS = ("accuracy", "macro_f1", "expected_calibration_error")
"""The numbers that all metrics have."""
OPTIONAL_METRIC_NUMBERS = ("top5_accuracy", "log_loss", "roc_auc", "uncalibrated_error")
METRIC_INTERVALS = ("accuracy_interval", "macro_f1_interval")


@dataclass(frozen=True)
class Share:
    """A version of an alias's model, and the percent of the alias's requests that it is given, above 0 to 100."""

    number: int
    percent: float


@dataclass(frozen=True)
class Traffic:
    """What becomes of an alias's requests besides: the main version answers those that no canary does.

    Each canary answers its percent of them. The mirror is run on its percent too, and what it says is compared, counted
    and never returned. Canaries and the main version differ from one another, and so do mirror and main version.
    """

    canaries: tuple[Share, ...] = ()
    mirror: Share | None = None

    @property
    def shares(self) -> tuple[Share, ...]:
        """Every version that takes part, one twice where a canary is the mirror too."""
        return self.canaries if self.mirror is None else (*self.canaries, self.mirror)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Traffic:
        """Read what `to_json` wrote."""
        mirror = values["mirror"]
        return cls(tuple(Share(**each) for each in values["canaries"]), Share(**mirror) if mirror is not None else None)


NO_SPLIT = Traffic()
"""Every request is the main version's."""


@dataclass(frozen=True)
class Target:
    """Where an alias points: its main version, and what becomes of requests besides."""

    number: int
    traffic: Traffic = NO_SPLIT

    @property
    def numbers(self) -> frozenset[int]:
        """Every version that it names."""
        return frozenset({self.number, *(share.number for share in self.traffic.shares)})


@dataclass(frozen=True)
class Alias:
    """A name that points at one version of a model, and may give others a share of its requests."""

    name: AliasName
    version: VersionName
    updated_at: datetime
    traffic: Traffic = NO_SPLIT


@dataclass(frozen=True)
class AliasMove:
    """One entry of an alias's append-only history; `to_version` is None where the alias was deleted.

    A change of `traffic` alone, which is what it was since, is a move from a version to itself. One that `is_refused`
    was not made: a gate did not let `to_version` pass.
    """

    name: AliasName
    from_version: VersionName | None
    to_version: VersionName | None
    traffic: Traffic
    actor: str
    reason: str
    created_at: datetime
    is_refused: bool = False


@dataclass(frozen=True)
class Notes:
    """What people write on a model or a version, and may change at any time."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Life:
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
    life: Life
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
    """One version of a model: all but its notes is immutable.

    `metric_values` are the numbers that listings filter and order by: those of `metrics`, and any a publisher gave.
    """

    name: VersionName
    manifest_digest: str
    architecture: str
    num_labels: int
    stages: tuple[StoredStage, ...]
    lineage: Lineage
    metrics: Metrics | None
    metric_values: Mapping[str, float]
    added_bytes: int
    notes: Notes
    life: Life
    aliases: tuple[str, ...]
    calibration: StoredCalibration | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all its stages."""
        return sum(stage.size_bytes for stage in self.stages)

    @property
    def blob_sizes(self) -> dict[str, int]:
        """Bytes of its blobs by digest, the manifest left out: first to last stage, then the calibration."""
        stages = {stage.digest: stage.size_bytes for stage in self.stages}
        return stages | (self.calibration.sizes if self.calibration is not None else {})


@dataclass(frozen=True)
class Dataset:
    """An immutable set of labelled rows, dealt into splits.

    `digest` names the blob of its manifest, `packs` the blobs that hold its rows; `summary` holds what a listing shows:
    label counts, split, rejected files. Its rows are those of the dataset `parent_id`, where it has one, and more.
    One that was deleted can be brought back until `purge_at`.
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

    @property
    def name(self) -> str:
        """Resource name."""
        return dataset_name(self.id)

    @property
    def parent_name(self) -> str:
        """Resource name of the dataset that it was appended to; empty where there is none."""
        return dataset_name(self.parent_id) if self.parent_id is not None else ""


DEFAULT_MAX_FAILURES = 3


@dataclass(frozen=True)
class JobUrgency:
    """Which job goes first, and when to give up.

    The highest `priority` goes first. A job that has not ended at `deadline` fails, as one does whose runners died
    `max_failures` times in a row without a new checkpoint.
    """

    priority: int = 0
    deadline: datetime | None = None
    max_failures: int = DEFAULT_MAX_FAILURES


@dataclass(frozen=True)
class JobSpec:
    """What a training job was asked to do, every default filled in."""

    model_id: str
    base: VersionName
    dataset_id: str
    recipe: Mapping[str, Any]
    seed: int
    alias: str | None
    urgency: JobUrgency = JobUrgency()
    promote: PromotionSpec | None = None


@dataclass(frozen=True)
class JobCheckpoint:
    """What a job had reached after so many steps, in one blob."""

    step: int
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class TrainingJob:
    """One fine-tune and where it stands.

    `num_attempts` counts the runners that started it, and `num_failures` those of them that died in a row, without a
    checkpoint in between; it waits until `next_attempt_at` for the next one. `step` is that of its newest checkpoint.
    """

    id: str
    spec: JobSpec
    state: JobState
    error: str
    version: VersionName | None
    num_attempts: int
    num_failures: int
    next_attempt_at: datetime | None
    step: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    last_sequence: int
    promotion: Promotion | None = None

    @property
    def name(self) -> str:
        """Resource name."""
        return job_name(self.id)

    @property
    def is_settled(self) -> bool:
        """Say whether nothing more will happen to it of itself."""
        return self.state in ENDED and (self.promotion is None or not self.promotion.is_open)


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened to a job: `kind` is `state`, `progress`, `promotion` or `message`."""

    sequence: int
    kind: str
    payload: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Change:
    """One entry of the change feed: what happened to which resource."""

    sequence: int
    kind: str
    resource: str
    created_at: datetime
