"""The rows behind the store; private to this package: what leaves it is a row's `record()`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy import types as sql_types
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from model_store.alias_records import NO_SPLIT, Alias, AliasMove, Target, Traffic
from model_store.job_records import JobCheckpoint, JobEvent, JobSpec, JobUrgency, TrainingJob
from model_store.lifecycle import JobState
from model_store.metrics import Metrics
from model_store.names import AliasName, VersionName
from model_store.promotion import Promotion, PromotionSpec
from model_store.records import (
    Change,
    Dataset,
    Life,
    Lineage,
    Model,
    ModelVersion,
    Notes,
    StoredCalibration,
    StoredStage,
)

# Named constraints, so that a migration can drop one on every database.
_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
# SQLite counts a rowid only in an INTEGER column.
_Sequence = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on reading."""

    impl = sql_types.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment with its zone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Row(DeclarativeBase):
    """Base of all rows."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012  SQLAlchemy's form


class _Kept:
    """The columns of a resource that people write notes on, and that is deleted in two steps."""

    description: Mapped[str] = mapped_column(Text, default="")
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]

    def life(self) -> Life:
        """Return when it came, changed and went."""
        return Life(str(self.revision), self.created_at, self.updated_at, self.deleted_at, self.purge_at)


class ModelRow(_Kept, Row):
    """A model and the counter of its versions; a purged model keeps its row, so that no number is given twice."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    last_number: Mapped[int] = mapped_column(default=0)
    is_purged: Mapped[bool] = mapped_column(default=False)
    tags: Mapped[list[ModelTagRow]] = relationship(order_by="ModelTagRow.key", cascade="all, delete-orphan")
    aliases: Mapped[list[AliasRow]] = relationship(order_by="AliasRow.alias", viewonly=True)

    def record(self) -> Model:
        """Return the model."""
        notes = Notes(self.description, {row.key: row.value for row in self.tags})
        return Model(self.id, self.last_number, notes, self.life(), tuple(row.record() for row in self.aliases))


class ModelTagRow(Row):
    """One tag of a model."""

    __tablename__ = "model_tags"
    __table_args__ = (Index("ix_model_tags_key", "key", "value", "model_id"),)

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))


class VersionRow(_Kept, Row):
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
    manifest_digest: Mapped[str] = mapped_column(String(64))
    architecture: Mapped[str] = mapped_column(String(100))
    num_labels: Mapped[int]
    base_model_id: Mapped[str | None] = mapped_column(String(63))
    base_number: Mapped[int | None]
    dataset_id: Mapped[str | None] = mapped_column(String(63), index=True)
    job_id: Mapped[str | None] = mapped_column(String(32), index=True)
    recipe: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any] | None]
    calibration_rows_digest: Mapped[str | None] = mapped_column(String(64))
    calibration_rows_bytes: Mapped[int | None]
    calibration_logits_digest: Mapped[str | None] = mapped_column(String(64))
    calibration_logits_bytes: Mapped[int | None]
    added_bytes: Mapped[int] = mapped_column(BigInteger)
    request_id: Mapped[str | None] = mapped_column(String(128), unique=True)
    stages: Mapped[list[StageRow]] = relationship(order_by="StageRow.position", cascade="all, delete-orphan")
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
        return ModelVersion(
            name=self.name,
            manifest_digest=self.manifest_digest,
            architecture=self.architecture,
            num_labels=self.num_labels,
            stages=tuple(StoredStage(row.name, row.digest, row.size_bytes) for row in self.stages),
            lineage=Lineage(
                base=_version_name(self.base_model_id, self.base_number),
                dataset_id=self.dataset_id,
                job_id=self.job_id,
                recipe=self.recipe,
                seed=self.seed,
            ),
            metrics=Metrics.from_json(self.metrics) if self.metrics is not None else None,
            metric_values={row.name: row.value for row in self.metric_values},
            added_bytes=self.added_bytes,
            notes=Notes(self.description, {row.key: row.value for row in self.tags}),
            life=self.life(),
            aliases=tuple(row.alias for row in self.aliases),
            calibration=stored_calibration(getattr(self, column.key) for column in CALIBRATION_COLUMNS),
        )


CALIBRATION_COLUMNS = (
    VersionRow.calibration_rows_digest,
    VersionRow.calibration_logits_digest,
    VersionRow.calibration_rows_bytes,
    VersionRow.calibration_logits_bytes,
)
"""What `stored_calibration` takes."""


class VersionTagRow(Row):
    """One tag of a version."""

    __tablename__ = "version_tags"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
        Index("ix_version_tags_key", "model_id", "key", "value", "number"),
    )

    model_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))


class VersionMetricRow(Row):
    """One number that says how good a version is: what listings filter and order by."""

    __tablename__ = "version_metrics"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
        Index("ix_version_metrics_value", "model_id", "name", "value", "number"),
    )

    model_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[float]


class StageRow(Row):
    """One stage of a version: what the collector marks and what `size_bytes` adds up."""

    __tablename__ = "version_stages"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
        Index("ix_version_stages_digest", "digest"),
    )

    model_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(63))
    digest: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class AliasRow(Row):
    """Where an alias points now."""

    __tablename__ = "aliases"
    __table_args__ = (ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),)

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(63), primary_key=True)
    number: Mapped[int]
    traffic: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    updated_at: Mapped[datetime]

    @property
    def name(self) -> AliasName:
        """Resource name."""
        return AliasName(self.model_id, self.alias)

    @property
    def target(self) -> Target:
        """All that it points at."""
        return Target(self.number, _traffic(self.traffic))

    def record(self) -> Alias:
        """Return the alias."""
        return Alias(self.name, VersionName(self.model_id, self.number), self.updated_at, self.target.traffic)


class AliasMoveRow(Row):
    """One move of an alias, one that a gate refused, or the alias' end; rows are only ever added."""

    __tablename__ = "alias_moves"
    __table_args__ = (Index("ix_alias_moves_alias", "model_id", "alias", "sequence"),)

    sequence: Mapped[int] = mapped_column(_Sequence, primary_key=True, autoincrement=True)
    model_id: Mapped[str] = mapped_column(String(63))
    alias: Mapped[str] = mapped_column(String(63))
    from_number: Mapped[int | None]
    to_number: Mapped[int | None]
    traffic: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    rolls_back: Mapped[bool]
    is_refused: Mapped[bool] = mapped_column(default=False)
    actor: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(String(1000))
    created_at: Mapped[datetime]

    @property
    def target(self) -> Target | None:
        """All that the alias points at since; None where it was deleted."""
        return Target(self.to_number, _traffic(self.traffic)) if self.to_number is not None else None

    def record(self) -> AliasMove:
        """Return the move."""
        return AliasMove(
            name=AliasName(self.model_id, self.alias),
            from_version=_version_name(self.model_id, self.from_number),
            to_version=_version_name(self.model_id, self.to_number),
            traffic=_traffic(self.traffic),
            actor=self.actor,
            reason=self.reason,
            created_at=self.created_at,
            is_refused=self.is_refused,
        )


class DatasetRow(Row):
    """One dataset; a purged one keeps its row, so that lineages and jobs go on naming what it was."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    parent_id: Mapped[str | None] = mapped_column(String(63))
    num_rows: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    summary: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]
    is_purged: Mapped[bool] = mapped_column(default=False)
    packs: Mapped[list[DatasetPackRow]] = relationship(order_by="DatasetPackRow.digest", cascade="all, delete-orphan")

    def record(self) -> Dataset:
        """Return the dataset."""
        packs = tuple(row.digest for row in self.packs)
        return Dataset(
            id=self.id,
            digest=self.digest,
            packs=packs,
            num_rows=self.num_rows,
            size_bytes=self.size_bytes,
            summary=self.summary,
            created_at=self.created_at,
            parent_id=self.parent_id,
            deleted_at=self.deleted_at,
            purge_at=self.purge_at,
        )


class DatasetPackRow(Row):
    """One blob of a dataset's rows, besides its manifest: what the collector marks."""

    __tablename__ = "dataset_packs"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)


class JobRow(Row):
    """One training job, and the lease of the runner that holds it."""

    __tablename__ = "training_jobs"
    __table_args__ = (
        Index("ix_training_jobs_state", "state", "sequence"),
        Index("ix_training_jobs_promotion_state", "promotion_state"),
    )

    sequence: Mapped[int] = mapped_column(_Sequence, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    request_id: Mapped[str | None] = mapped_column(String(128), unique=True)
    model_id: Mapped[str] = mapped_column(String(63))
    base_model_id: Mapped[str] = mapped_column(String(63))
    base_number: Mapped[int]
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    recipe: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    alias: Mapped[str | None] = mapped_column(String(63))
    promote: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    promotion: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    promotion_state: Mapped[str | None] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)
    deadline: Mapped[datetime | None]
    max_failures: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    error: Mapped[str] = mapped_column(Text, default="")
    version_number: Mapped[int | None]
    num_attempts: Mapped[int] = mapped_column(default=0)
    num_failures: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[datetime | None]
    last_sequence: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    checkpoints: Mapped[list[JobCheckpointRow]] = relationship(
        order_by="JobCheckpointRow.step.desc()", cascade="all, delete-orphan"
    )

    def record(self) -> TrainingJob:
        """Return the job."""
        return TrainingJob(
            id=self.id,
            spec=JobSpec(
                model_id=self.model_id,
                base=VersionName(self.base_model_id, self.base_number),
                dataset_id=self.dataset_id,
                recipe=self.recipe,
                seed=self.seed,
                alias=self.alias,
                urgency=JobUrgency(self.priority, self.deadline, self.max_failures),
                promote=PromotionSpec.from_json(self.promote) if self.promote is not None else None,
            ),
            state=JobState(self.state),
            error=self.error,
            version=_version_name(self.model_id, self.version_number),
            num_attempts=self.num_attempts,
            num_failures=self.num_failures,
            next_attempt_at=self.next_attempt_at,
            step=self.checkpoints[0].step if self.checkpoints else None,
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            last_sequence=self.last_sequence,
            promotion=Promotion.from_json(self.promotion) if self.promotion is not None else None,
        )


class JobCheckpointRow(Row):
    """One checkpoint of a job: what the next attempt goes on from, and what the collector marks."""

    __tablename__ = "training_job_checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("training_jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)

    def record(self) -> JobCheckpoint:
        """Return the checkpoint."""
        return JobCheckpoint(self.step, self.digest, self.size_bytes)


class JobEventRow(Row):
    """One thing that happened to a job."""

    __tablename__ = "training_job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("training_jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    def record(self) -> JobEvent:
        """Return the event."""
        return JobEvent(self.sequence, self.kind, self.payload, self.created_at)


class ChangeRow(Row):
    """One entry of the change feed, in the order of commits."""

    __tablename__ = "changes"

    sequence: Mapped[int] = mapped_column(_Sequence, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32))
    resource: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]

    def record(self) -> Change:
        """Return the change."""
        return Change(self.sequence, self.kind, self.resource, self.created_at)


def stored_calibration(values: Iterable[Any]) -> StoredCalibration | None:
    """Return what CALIBRATION_COLUMNS say of a version's calibration; None where it has none."""
    rows, logits, rows_bytes, logits_bytes = values
    return StoredCalibration(rows, logits, rows_bytes, logits_bytes) if rows is not None else None


def _traffic(values: dict[str, Any] | None) -> Traffic:
    return Traffic.from_json(values) if values is not None else NO_SPLIT


def _version_name(model_id: str | None, number: int | None) -> VersionName | None:
    return VersionName(model_id, number) if model_id is not None and number is not None else None
