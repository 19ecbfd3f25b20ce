"""Versions, their stages, tags and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from model_store.names import VersionName
from model_store.records.metrics import Metrics
from model_store.records.resources import Lineage, ModelVersion, Notes, StoredCalibration, StoredStage
from model_store.tables.base import CheckedText, Row, TimestampedRow, version_name
from model_store.texts import MAX_PRINCIPAL, MAX_REQUEST_ID

if TYPE_CHECKING:
    from model_store.tables.aliases import AliasRow


_FILE = "input/"
ANSWERS_ROW_NAME = "held_out/answers"
"""The name of the row of a version's answers for held-out rows; no stage has such a name."""


class VersionRow(TimestampedRow, Row):
    """One published version."""

    __tablename__ = "versions"
    __table_args__ = (
        Index("ix_versions_manifest_digest", "manifest_digest"),
        Index("ix_versions_calibration_rows_digest", "calibration_rows_digest"),
        Index("ix_versions_calibration_logits_digest", "calibration_logits_digest"),
        Index("ix_versions_base", "base_model_id", "base_number"),
        Index("ix_versions_purge_at", "purge_at"),
    )

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    manifest_digest: Mapped[str] = mapped_column(CheckedText(64))
    architecture: Mapped[str] = mapped_column(CheckedText(100))
    modality: Mapped[str] = mapped_column(CheckedText(32))
    task: Mapped[str | None] = mapped_column(CheckedText(32))
    num_outputs: Mapped[int]
    base_model_id: Mapped[str | None] = mapped_column(CheckedText(63))
    base_number: Mapped[int | None]
    dataset_id: Mapped[str | None] = mapped_column(CheckedText(63), index=True)
    job_id: Mapped[str | None] = mapped_column(CheckedText(32), index=True)
    recipe: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any] | None]
    calibration_rows_digest: Mapped[str | None] = mapped_column(CheckedText(64))
    calibration_rows_bytes: Mapped[int | None]
    calibration_logits_digest: Mapped[str | None] = mapped_column(CheckedText(64))
    calibration_logits_bytes: Mapped[int | None]
    added_bytes: Mapped[int] = mapped_column(BigInteger)
    request_id: Mapped[str | None] = mapped_column(CheckedText(MAX_REQUEST_ID), unique=True)
    principal: Mapped[str] = mapped_column(CheckedText(MAX_PRINCIPAL), default="")
    blobs: Mapped[list[StageRow]] = relationship(order_by="StageRow.position", cascade="all, delete-orphan")
    tags: Mapped[list[VersionTagRow]] = relationship(order_by="VersionTagRow.key", cascade="all, delete-orphan")
    metric_values: Mapped[list[VersionMetricRow]] = relationship(
        order_by="VersionMetricRow.name", cascade="all, delete-orphan"
    )
    aliases: Mapped[list[AliasRow]] = relationship(order_by="AliasRow.alias", viewonly=True)

    @property
    def name(self) -> VersionName:
        """Resource name."""
        return VersionName(self.model_id, self.number)

    def record(self) -> ModelVersion:
        """Return the version."""
        blobs = blobs_of((row.name, row.digest, row.size_bytes) for row in self.blobs)
        return ModelVersion(
            name=self.name,
            manifest_digest=self.manifest_digest,
            architecture=self.architecture,
            modality=self.modality,
            task=self.task,
            num_outputs=self.num_outputs,
            stages=blobs.stages,
            files=blobs.files,
            answers=blobs.answers,
            lineage=Lineage(
                base=version_name(self.base_model_id, self.base_number),
                dataset_id=self.dataset_id,
                job_id=self.job_id,
                recipe=self.recipe,
                seed=self.seed,
            ),
            metrics=Metrics.from_json(self.metrics) if self.metrics is not None else None,
            metric_values={row.name: row.value for row in self.metric_values},
            added_bytes=self.added_bytes,
            notes=Notes(self.description, {row.key: row.value for row in self.tags}),
            timestamps=self.timestamps(),
            aliases=tuple(row.alias for row in self.aliases),
            calibration=stored_calibration(getattr(self, column.key) for column in CALIBRATION_COLUMNS),
            principal=self.principal,
        )


CALIBRATION_COLUMNS = (
    VersionRow.calibration_rows_digest,
    VersionRow.calibration_logits_digest,
    VersionRow.calibration_rows_bytes,
    VersionRow.calibration_logits_bytes,
)
"""The columns that `stored_calibration` needs."""


class VersionTagRow(Row):
    """One tag of a version."""

    __tablename__ = "version_tags"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
        Index("ix_version_tags_key", "model_id", "key", "value", "number"),
    )

    model_id: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    value: Mapped[str] = mapped_column(CheckedText(255))


class VersionMetricRow(Row):
    """One metric of a version, for filters and orders of listings."""

    __tablename__ = "version_metrics"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
        Index("ix_version_metrics_value", "model_id", "name", "value", "number"),
    )

    model_id: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    value: Mapped[float]


class StageRow(Row):
    """One blob of a version; the collector marks it, and `size_bytes` adds it up.

    It is a stage, or by its name a file of the input spec, such as a tokenizer (`file_row_name`), or the answers for
    held-out rows (`ANSWERS_ROW_NAME`), which no manifest names.
    """

    __tablename__ = "version_stages"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
        Index("ix_version_stages_digest", "digest"),
    )

    model_id: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(CheckedText(63))
    digest: Mapped[str] = mapped_column(CheckedText(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True)
class VersionBlobs:
    """The blobs of a version: stages, files of the input spec, and the answers for held-out rows."""

    stages: tuple[StoredStage, ...]
    files: tuple[StoredStage, ...]
    answers: StoredStage | None


def file_row_name(name: str) -> str:
    """Return the name of the row of a file of an input spec; no stage has such a name."""
    return f"{_FILE}{name}"


def blobs_of(rows: Iterable[tuple[str, str, int]]) -> VersionBlobs:
    """Return the blobs of a version, by rows of names, digests and sizes."""
    blobs = [StoredStage(*row) for row in rows]
    files = (replace(blob, name=blob.name.removeprefix(_FILE)) for blob in blobs if blob.name.startswith(_FILE))
    answers = next((blob for blob in blobs if blob.name == ANSWERS_ROW_NAME), None)
    stages = (blob for blob in blobs if not blob.name.startswith(_FILE) and blob is not answers)
    return VersionBlobs(tuple(stages), tuple(files), answers)


def stored_calibration(values: Iterable[Any]) -> StoredCalibration | None:
    """Return the calibration in CALIBRATION_COLUMNS; None for a version without one."""
    rows, logits, rows_bytes, logits_bytes = values
    return StoredCalibration(rows, logits, rows_bytes, logits_bytes) if rows is not None else None
