"""Training jobs, their checkpoints and events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from model_store.names import VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import (
    ErrorCode,
    JobCheckpoint,
    JobError,
    JobEvent,
    JobSpec,
    JobUrgency,
    TrainingJob,
    Trial,
    Validated,
)
from model_store.records.promotion import Promotion, PromotionSpec
from model_store.tables.base import CheckedText, CutText, Json, Row, Sequence, version_name
from model_store.texts import MAX_ERROR, MAX_PRINCIPAL, MAX_REQUEST_ID


class JobRow(Row):
    """One training job, and the lease of the runner that holds it."""

    __tablename__ = "training_jobs"
    __table_args__ = (
        Index("ix_training_jobs_state", "state", "sequence"),
        Index("ix_training_jobs_promotion_state", "promotion_state"),
        Index("ix_training_jobs_trial", "search_job_id", "trial_number", unique=True),
    )

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(CheckedText(32), unique=True)
    request_id: Mapped[str | None] = mapped_column(CheckedText(MAX_REQUEST_ID), unique=True)
    model_id: Mapped[str] = mapped_column(CheckedText(63))
    base_model_id: Mapped[str] = mapped_column(CheckedText(63))
    base_number: Mapped[int]
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    recipe: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    alias: Mapped[str | None] = mapped_column(CheckedText(63))
    promote: Mapped[dict[str, Any] | None] = mapped_column(Json())
    promotion: Mapped[dict[str, Any] | None] = mapped_column(Json())
    asked_recipe: Mapped[dict[str, Any] | None] = mapped_column(Json())
    recommendation: Mapped[dict[str, Any] | None] = mapped_column(Json())
    promotion_state: Mapped[str | None] = mapped_column(CheckedText(16))
    search: Mapped[dict[str, Any] | None] = mapped_column(Json())
    search_plan: Mapped[dict[str, Any] | None] = mapped_column(Json())
    search_job_id: Mapped[str | None] = mapped_column(CheckedText(32))
    trial_number: Mapped[int | None]
    trial_stopped: Mapped[str | None] = mapped_column(CutText(MAX_ERROR, is_bounded=False))
    validation_metric: Mapped[float | None] = mapped_column(Float())
    validation_loss: Mapped[float | None] = mapped_column(Float())
    priority: Mapped[int] = mapped_column(default=0)
    deadline: Mapped[datetime | None]
    max_failures: Mapped[int]
    state: Mapped[str] = mapped_column(CheckedText(16))
    error_code: Mapped[int | None]
    error: Mapped[str] = mapped_column(CutText(MAX_ERROR, is_bounded=False), default="")
    version_number: Mapped[int | None]
    num_attempts: Mapped[int] = mapped_column(default=0)
    num_failures: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(CheckedText(200))
    lease_expires_at: Mapped[datetime | None]
    last_sequence: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=1)
    principal: Mapped[str] = mapped_column(CheckedText(MAX_PRINCIPAL), default="")
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    checkpoints: Mapped[list[JobCheckpointRow]] = relationship(
        order_by="JobCheckpointRow.step.desc()", cascade="all, delete-orphan"
    )

    def fail(self, error: JobError | None) -> None:
        """Note why the job failed, or forget it."""
        self.error_code = error.code if error is not None else None
        self.error = error.message if error is not None else ""

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
                asked_recipe=self.asked_recipe,
                search=self.search,
            ),
            state=JobState(self.state),
            error=JobError(ErrorCode(self.error_code), self.error) if self.error_code is not None else None,
            version=version_name(self.model_id, self.version_number),
            num_attempts=self.num_attempts,
            num_failures=self.num_failures,
            next_attempt_at=self.next_attempt_at,
            step=self.checkpoints[0].step if self.checkpoints else None,
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            last_sequence=self.last_sequence,
            promotion=Promotion.from_json(self.promotion) if self.promotion is not None else None,
            etag=str(self.revision),
            principal=self.principal,
            recommendation=self.recommendation,
            validated=Validated(self.validation_metric, self.validation_loss),
            search_plan=self.search_plan,
            trial=self._trial(),
        )

    def _trial(self) -> Trial | None:
        if self.search_job_id is None or self.trial_number is None:
            return None
        return Trial(self.search_job_id, self.trial_number, self.trial_stopped or "")


class JobCheckpointRow(Row):
    """One checkpoint of a job; the next attempt starts from it, and the collector marks its blob."""

    __tablename__ = "training_job_checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("training_jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(CheckedText(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)

    def record(self) -> JobCheckpoint:
        """Return the checkpoint."""
        return JobCheckpoint(self.step, self.digest, self.size_bytes)


class JobEventRow(Row):
    """One thing that happened to a job."""

    __tablename__ = "training_job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("training_jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(CheckedText(16))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    def record(self) -> JobEvent:
        """Return the event."""
        return JobEvent(self.sequence, self.kind, self.payload, self.created_at)
