"""Settings of the training service: `MAAS_TRAINING_…` for this service, `MAAS_…` for every maas process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from grpc_runtime.addresses import check_target
from grpc_runtime.modality_limits import NumbersByModality, limits_of
from grpc_runtime.settings import ServerSettings
from model_store.upkeep.steps import Ages

_MEBIBYTE = 1024 * 1024
_UPLOAD_ROOM_BYTES = 16 * _MEBIBYTE  # what an upload must find free before it writes so much more


class TrainingSettings(ServerSettings):
    """Everything an operator may set."""

    model_config = SettingsConfigDict(env_prefix="MAAS_TRAINING_")

    bind: str = "127.0.0.1:50052"

    max_archive_bytes: int = Field(default=8192 * _MEBIBYTE, ge=1)
    uploads_bytes: int = Field(
        default=32768 * _MEBIBYTE,
        ge=1,
        description="Bytes on the disk of all uploads that are under way, or broke off and can go on.",
    )
    max_unpacked_bytes: int = Field(default=32768 * _MEBIBYTE, ge=1)
    max_compression_ratio: int = Field(default=100, ge=1, description="Unpacked bytes for each byte of an archive.")
    max_files: int = Field(default=500_000, ge=1, description="Entries of one archive, folders included.")
    max_file_bytes: int = Field(default=64 * _MEBIBYTE, ge=1, description="Larger files are left out of a dataset.")
    max_example_size: NumbersByModality = Field(
        default={},
        description="Largest example, by modality and in its unit, such as image=50000000,values=65536 (the defaults).",
    )

    dataset_roots: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="URLs below which datasets may be registered from where they lie, separated by commas: a folder as "
        "file:///data, or what fsspec opens, as s3://bucket/photos. None by default: whoever may call may read there.",
    )
    array_cache_bytes: int = Field(
        default=20 * 1024 * _MEBIBYTE, ge=0, description="Decoded datasets, and their features, on the disk."
    )

    num_concurrent_evaluations: int = Field(default=2, ge=1, description="Evaluations and reports at once.")

    inference_addresses: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="host:port of inference services, separated by commas: a job that promotes its version is followed "
        "until all of them serve it.",
    )
    promotion_patience_seconds: float = Field(
        default=300.0, gt=0, description="How long they have for it; a version that cannot be loaded is rolled back."
    )

    upkeep_seconds: float = Field(
        default=3600.0, ge=0, description="How often what is too old is removed; 0: never by this service."
    )
    keep_changes_days: float = Field(default=30.0, gt=0, description="Age from which changes leave the feed.")
    keep_events_days: float = Field(default=90.0, gt=0, description="Age from which events of jobs go.")
    keep_jobs_days: float = Field(default=365.0, gt=0, description="How long jobs are kept that left no version.")
    keep_checkpoints_days: float = Field(default=7.0, ge=0, description="How long a job that ended can be continued.")
    keep_quarantine_days: float = Field(default=30.0, ge=0, description="Age from which damaged blobs go for good.")
    keep_garbage_hours: float = Field(default=24.0, ge=1, description="Age from which unused blobs go.")

    keep_uploads_hours: float = Field(default=24.0, gt=0, description="How long an upload that broke off can go on.")

    num_concurrent_jobs: int = Field(default=1, ge=0, description="Jobs that run here at once; 0: only queue them.")
    lease_seconds: float = Field(default=15.0, gt=0, description="How long a silent runner keeps its job.")
    heartbeat_seconds: float = Field(default=1.0, gt=0, description="How often a runner renews the lease.")
    poll_seconds: float = Field(default=0.2, gt=0, description="How often queue and events are read.")
    stop_grace_seconds: float = Field(default=5.0, ge=0, description="Time a worker has to stop before it is killed.")
    checkpoint_seconds: float = Field(default=10.0, ge=0, description="What a job that is killed may lose.")

    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int = Field(default=0, ge=0, description="CPU threads of a worker; 0: all cores.")

    @property
    def ages(self) -> Ages:
        """How long each kind of what piles up is kept."""
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
