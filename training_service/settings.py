"""Settings of the training service: `MAAS_TRAINING_…` for this service, `MAAS_…` for every maas process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from grpc_runtime.addresses import check_target
from grpc_runtime.modality_limits import NumbersByModality, limits_of, own_numbers
from grpc_runtime.settings import ServerSettings
from model_store.upkeep.steps import Ages

_MEBIBYTE = 1024 * 1024
_UPLOAD_ROOM_BYTES = 16 * _MEBIBYTE  # free space that an upload needs before it goes on writing


class TrainingSettings(ServerSettings):
    """Settings of the training service.

    Each field is read from `MAAS_TRAINING_{FIELD}`, else from `MAAS_{FIELD}`.
    """

    model_config = SettingsConfigDict(env_prefix="MAAS_TRAINING_")

    bind: str = Field(
        default="127.0.0.1:50052", description="Address to listen on, `host:port`. Port 0: any free port."
    )

    max_archive_bytes: int = Field(
        default=8192 * _MEBIBYTE, ge=1, description="Size limit of an uploaded archive. Larger ones are refused."
    )
    max_unpacked_bytes: int = Field(
        default=32768 * _MEBIBYTE, ge=1, description="Size limit of the unpacked files of an archive."
    )
    max_compression_ratio: int = Field(
        default=100, ge=1, description="Limit of unpacked bytes for each byte of an archive."
    )
    max_files: int = Field(default=500_000, ge=1, description="Limit of the entries of an archive, folders included.")
    max_file_bytes: int = Field(
        default=64 * _MEBIBYTE, ge=1, description="Size limit of a file. Larger files are left out and listed."
    )
    max_example_size: NumbersByModality = Field(
        default_factory=partial(own_numbers, "example"),
        description="Size limit of an example, by modality: pixels of an image, samples of a recording, numbers of a "
        "row. Larger examples are left out and listed.",
    )
    uploads_bytes: int = Field(
        default=32768 * _MEBIBYTE, ge=1, description="Disk space of all unfinished uploads, interrupted ones included."
    )
    keep_uploads_hours: float = Field(
        default=24.0, gt=0, description="Time in which an interrupted upload can be resumed."
    )
    dataset_roots: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="URLs, separated by commas, below which datasets may be registered in place: `file:///data`, "
        "`s3://bucket/photos`. Empty: none, since any caller may read what is below a root.",
    )
    array_cache_bytes: int = Field(
        default=20 * 1024 * _MEBIBYTE,
        ge=0,
        description="Disk space, in `MAAS_CACHE_DIR`, of prepared rows and features. The least recently used are "
        "removed first.",
    )

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device of training. `auto`: CUDA where a GPU is found, else the CPU."
    )
    num_threads: int = Field(default=0, ge=0, description="CPU threads of a worker. 0: all cores.")
    num_concurrent_jobs: int = Field(
        default=1, ge=0, description="Limit of running jobs. 0: jobs are queued and not run by this service."
    )
    num_concurrent_evaluations: int = Field(
        default=2, ge=1, description="Limit of running evaluations and reports. More are refused."
    )
    cross_validation_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Time of a job for the cross-validation of its recipe on a small dataset. With less time than that "
        "takes, there are fewer folds, or none. 0: none.",
    )
    checkpoint_seconds: float = Field(
        default=10.0, ge=0, description="Interval of checkpoints: the work that a killed job loses at most."
    )
    lease_seconds: float = Field(
        default=15.0, gt=0, description="Time after which the job of a silent runner is given to another runner."
    )
    heartbeat_seconds: float = Field(default=1.0, gt=0, description="Interval at which a runner renews its lease.")
    poll_seconds: float = Field(default=0.2, gt=0, description="Polling interval of the job queue and of job events.")
    stop_grace_seconds: float = Field(default=5.0, ge=0, description="Time for a worker to stop before it is killed.")

    inference_addresses: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="`host:port` of the inference services, separated by commas, that must serve a promoted version. "
        "`maas up` and the containers set it.",
    )
    promotion_patience_seconds: float = Field(
        default=300.0, gt=0, description="Time for these services to load a promoted version before it is rolled back."
    )

    upkeep_seconds: float = Field(
        default=3600.0, ge=0, description="Interval of upkeep, by one training service at a time. 0: not by this one."
    )
    keep_changes_days: float = Field(default=30.0, gt=0, description="Age at which entries leave the change feed.")
    keep_events_days: float = Field(
        default=90.0, gt=0, description="Age at which the events of a job are removed; its report then has no curves."
    )
    keep_jobs_days: float = Field(default=365.0, gt=0, description="Age at which jobs without a version are removed.")
    keep_checkpoints_days: float = Field(
        default=7.0, ge=0, description="Age at which the checkpoints of an ended job are removed."
    )
    keep_quarantine_days: float = Field(default=30.0, ge=0, description="Age at which damaged blobs are removed.")
    keep_garbage_hours: float = Field(default=24.0, ge=1, description="Age at which unused blobs are removed.")

    @property
    def ages(self) -> Ages:
        """The age of removal of each kind of data."""
        return Ages(
            changes=timedelta(days=self.keep_changes_days),
            events=timedelta(days=self.keep_events_days),
            jobs=timedelta(days=self.keep_jobs_days),
            checkpoints=timedelta(days=self.keep_checkpoints_days),
            quarantine=timedelta(days=self.keep_quarantine_days),
            garbage=timedelta(hours=self.keep_garbage_hours),
        )

    @field_validator("dataset_roots", "inference_addresses", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else value

    @property
    def max_sizes(self) -> Mapping[str, int]:
        """The largest size of an example, of each modality."""
        return {kind: limits.example for kind, limits in limits_of(example=self.max_example_size).items()}

    @field_validator("inference_addresses")
    @classmethod
    def _check_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_target(each) for each in addresses)

    @model_validator(mode="after")
    def _check_ages(self) -> TrainingSettings:
        if self.keep_events_days > self.keep_jobs_days:
            raise ValueError("keep_events_days must be at most keep_jobs_days: no event outlives its job")
        return self

    @model_validator(mode="after")
    def _check_uploads(self) -> TrainingSettings:
        if self.uploads_bytes < self.max_archive_bytes + _UPLOAD_ROOM_BYTES:
            raise ValueError(
                "uploads_bytes must be 16 MiB more than max_archive_bytes, or no archive of that size fits"
            )
        return self

    @model_validator(mode="after")
    def _check_lease(self) -> TrainingSettings:
        if self.heartbeat_seconds * 3 > self.lease_seconds:
            raise ValueError(
                "lease_seconds must be at least three heartbeats, or a runner could lose a job it works on"
            )
        return self
