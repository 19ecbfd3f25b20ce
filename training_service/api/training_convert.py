"""Between the messages of maas.training.v1 and the service's own words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status
from maas.training.v1 import training_pb2 as pb

from model_store.errors import InvalidInput
from model_store.names import AliasName, VersionName, dataset_name, model_name
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import DEFAULT_MAX_FAILURES, NO_BASE, REMARKS, JobEvent, JobSpec, TrainingJob
from model_store.records.promotion import (
    DEFAULT_MIN_ROWS,
    DEFAULT_SHADOW_MIN_ROWS,
    Promotion,
    PromotionSpec,
    PromotionState,
    Requirement,
)
from model_store.records.resources import ModelVersion
from training_service.api.evaluation_convert import PHASES, interval_message, metrics_message
from training_service.api.job_requests import AUTO_BASE, JobRequest
from training_service.api.recipe_convert import read_recipe, recipe_message
from training_service.api.recommendations.convert import recommendation_message
from training_service.api.registry_convert import timestamp
from training_service.api.searches.convert import read_search, search_message, trial_message
from training_service.phases import Phase
from training_service.recipes.recipe import Recipe
from training_service.search.space import Search

_STATES = {
    JobState.QUEUED: pb.TRAINING_JOB_STATE_QUEUED,
    JobState.PREPARING: pb.TRAINING_JOB_STATE_PREPARING,
    JobState.RUNNING: pb.TRAINING_JOB_STATE_RUNNING,
    JobState.CANCELLING: pb.TRAINING_JOB_STATE_CANCELLING,
    JobState.SUCCEEDED: pb.TRAINING_JOB_STATE_SUCCEEDED,
    JobState.FAILED: pb.TRAINING_JOB_STATE_FAILED,
    JobState.CANCELLED: pb.TRAINING_JOB_STATE_CANCELLED,
    JobState.PAUSING: pb.TRAINING_JOB_STATE_PAUSING,
    JobState.PAUSED: pb.TRAINING_JOB_STATE_PAUSED,
}

_PROMOTION_STATES = {
    PromotionState.REFUSED: pb.PROMOTION_STATE_REFUSED,
    PromotionState.SHADOWING: pb.PROMOTION_STATE_SHADOWING,
    PromotionState.LOADING: pb.PROMOTION_STATE_LOADING,
    PromotionState.SERVING: pb.PROMOTION_STATE_SERVING,
    PromotionState.PROMOTED: pb.PROMOTION_STATE_PROMOTED,
}

_REQUIREMENTS = {
    Requirement.NOT_WORSE: pb.PROMOTION_REQUIREMENT_NOT_WORSE,
    Requirement.BETTER: pb.PROMOTION_REQUIREMENT_BETTER,
}


def read_job(request: pb.CreateTrainingJobRequest) -> JobRequest:
    """Return the request in the message, unchecked."""
    job = request.training_job
    return JobRequest(
        model=job.model,
        base=job.base,
        dataset=job.dataset,
        recipe=read_recipe(job.recipe),
        seed=job.seed,
        alias=job.alias or None,
        priority=job.priority,
        deadline=job.deadline.ToDatetime(UTC) if job.HasField("deadline") else None,
        max_failures=job.max_failures if job.HasField("max_failures") else DEFAULT_MAX_FAILURES,
        promote=_read_promote(job.promote) if job.HasField("promote") else None,
        text_base=request.text_base,
        text_column=request.text_column,
        search=read_search(job.search) if job.HasField("search") else None,
    )


def spec_message(spec: JobSpec) -> pb.TrainingJob:
    """Return the specification of a job; the dataset is empty if none is named."""
    return pb.TrainingJob(
        model=model_name(spec.model_id),
        base=_base_text(spec),
        dataset=dataset_name(spec.dataset_id) if spec.dataset_id else "",
        recipe=recipe_message(Recipe.from_json(spec.recipe)),
        seed=spec.seed,
        alias=str(AliasName(spec.model_id, spec.alias)) if spec.alias is not None else "",
        priority=spec.urgency.priority,
        deadline=_timestamp(spec.urgency.deadline),
        max_failures=spec.urgency.max_failures,
        promote=_promote_message(spec.promote, spec.model_id) if spec.promote is not None else None,
        search=search_message(Search.from_json(spec.search)) if spec.search is not None else None,
    )


def _base_text(spec: JobSpec) -> str:
    if spec.base != NO_BASE:
        return str(spec.base)
    return AUTO_BASE if spec.chooses_base else ""


def job_message(job: TrainingJob, version: ModelVersion | None = None, *, in_full: bool = True) -> pb.TrainingJob:
    """Return a job, with the metrics of its version and the remarks on it; `in_full` with all of its recommendation."""
    metrics = version.metrics if version is not None else None
    message = spec_message(job.spec)
    standing = pb.TrainingJob(
        name=job.name,
        state=_STATES[job.state],
        error=Status(code=job.error.code, message=job.error.message) if job.error is not None else None,
        version=str(job.version) if job.version is not None else "",
        metrics=metrics_message(metrics) if metrics is not None else None,
        attempt_count=job.num_attempts,
        create_time=_timestamp(job.created_at),
        start_time=_timestamp(job.started_at),
        end_time=_timestamp(job.ended_at),
        last_sequence=job.last_sequence,
        failure_count=job.num_failures,
        next_attempt_time=_timestamp(job.next_attempt_at),
        checkpoint_step=job.step,
        promotion=_promotion_message(job.promotion, job.spec.model_id) if job.promotion is not None else None,
        remarks=version.lineage.recipe.get(REMARKS, []) if version is not None else [],
        etag=job.etag,
        principal=job.principal,
        recommendation=(
            recommendation_message(job.recommendation, in_full=in_full) if job.recommendation is not None else None
        ),
        trial=trial_message(job.trial) if job.trial is not None else None,
        validation_metric=job.validated.metric,
        validation_loss=job.validated.loss,
    )
    message.MergeFrom(standing)
    return message


def event_message(event: JobEvent, model_id: str) -> pb.TrainingJobEvent:
    """Return one event of a job that makes a version of this model."""
    message = pb.TrainingJobEvent(sequence=event.sequence, create_time=_timestamp(event.created_at))
    if event.kind == "state":
        message.state = _STATES[JobState(event.payload["state"])]
    elif event.kind == "progress":
        message.progress.CopyFrom(_progress_message(event.payload))
    elif event.kind == "promotion":
        message.promotion.CopyFrom(_promotion_message(Promotion.from_json(event.payload), model_id))
    else:
        message.message = event.payload["text"]
    return message


def _progress_message(payload: Mapping[str, Any]) -> pb.Progress:
    figures = {key: value for key, value in payload.items() if key not in {"phase", "seconds_left"}}
    time_left = timedelta(seconds=payload["seconds_left"]) if "seconds_left" in payload else None
    return pb.Progress(phase=PHASES[Phase(payload["phase"])], time_left=time_left, **figures)


def _read_promote(promote: pb.Promote) -> PromotionSpec:
    return PromotionSpec(
        alias=promote.alias,
        metric=promote.metric,
        threshold=promote.threshold if promote.HasField("threshold") else None,
        min_delta=promote.min_delta,
        shadow_seconds=promote.shadow_for.seconds + promote.shadow_for.nanos / 1e9,
        min_rows=promote.min_rows if promote.HasField("min_rows") else DEFAULT_MIN_ROWS,
        shadow_min_rows=promote.shadow_min_rows if promote.HasField("shadow_min_rows") else DEFAULT_SHADOW_MIN_ROWS,
        require=_read_requirement(promote.require),
    )


def _promote_message(spec: PromotionSpec, model_id: str) -> pb.Promote:
    return pb.Promote(
        alias=str(AliasName(model_id, spec.alias)),
        metric=spec.metric,
        threshold=spec.threshold,
        min_delta=spec.min_delta,
        shadow_for=timedelta(seconds=spec.shadow_seconds),
        min_rows=spec.min_rows,
        shadow_min_rows=spec.shadow_min_rows,
        require=_REQUIREMENTS[spec.require],
    )


def _read_requirement(require: int) -> Requirement:
    if require == pb.PROMOTION_REQUIREMENT_UNSPECIFIED:
        return Requirement.NOT_WORSE
    for requirement, each in _REQUIREMENTS.items():
        if each == require:
            return requirement
    raise InvalidInput.of(
        "training_job.promote.require", f"has no value {require}: leave it out, or say not worse or better"
    )


def _promotion_message(promotion: Promotion, model_id: str) -> pb.Promotion:
    verdict = promotion.verdict
    return pb.Promotion(
        state=_PROMOTION_STATES[promotion.state],
        reason=promotion.reason,
        figure=verdict.figure,
        incumbent=str(VersionName(model_id, verdict.incumbent)) if verdict.incumbent is not None else "",
        incumbent_figure=verdict.incumbent_figure,
        row_count=verdict.num_rows,
        left_out_row_count=verdict.num_left_out,
        interval=interval_message(verdict.interval) if verdict.interval is not None else None,
        p_value=verdict.p_value,
        cross_validated=verdict.is_cross_validated,
        update_time=_timestamp(promotion.updated_at),
    )


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return timestamp(moment) if moment is not None else None
