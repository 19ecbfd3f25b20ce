"""Between the messages of maas.training.v1 and the service's own words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from maas.training.v1 import training_pb2 as pb

from model_store.lifecycle import JobState
from model_store.names import dataset_name, model_name
from model_store.records import DEFAULT_MAX_FAILURES, Dataset, JobEvent, Metrics, TrainingJob
from training_service.datasets import DatasetManifest, DatasetRow
from training_service.job_requests import JobRequest
from training_service.recipes import FIELDS, Recipe
from training_service.registry_convert import metrics_message, timestamp

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


def read_job(job: pb.TrainingJob) -> JobRequest:
    """Return what the message asks for, unchecked."""
    chosen = {field.name: value for field, value in job.recipe.ListFields() if field.name != "name"}
    return JobRequest(
        model=job.model,
        base=job.base,
        dataset=job.dataset,
        recipe_name=job.recipe.name,
        recipe=chosen,
        seed=job.seed,
        alias=job.alias or None,
        priority=job.priority,
        deadline=job.deadline.ToDatetime(UTC) if job.HasField("deadline") else None,
        max_failures=job.max_failures if job.HasField("max_failures") else DEFAULT_MAX_FAILURES,
    )


def job_message(job: TrainingJob, metrics: Metrics | None = None) -> pb.TrainingJob:
    """Return a job; `metrics` are those of its version."""
    return pb.TrainingJob(
        name=job.name,
        model=model_name(job.spec.model_id),
        base=str(job.spec.base),
        dataset=dataset_name(job.spec.dataset_id),
        recipe=_recipe_message(Recipe.from_json(job.spec.recipe)),
        seed=job.spec.seed,
        alias=job.spec.alias or "",
        state=_STATES[job.state],
        error=job.error,
        version=str(job.version) if job.version is not None else "",
        metrics=metrics_message(metrics) if metrics is not None else None,
        num_attempts=job.num_attempts,
        create_time=_timestamp(job.created_at),
        start_time=_timestamp(job.started_at),
        end_time=_timestamp(job.ended_at),
        last_sequence=job.last_sequence,
        priority=job.spec.urgency.priority,
        deadline=_timestamp(job.spec.urgency.deadline),
        max_failures=job.spec.urgency.max_failures,
        num_failures=job.num_failures,
        next_attempt_time=_timestamp(job.next_attempt_at),
        checkpoint_step=job.step,
    )


def event_message(event: JobEvent) -> pb.TrainingJobEvent:
    """Return one event."""
    message = pb.TrainingJobEvent(sequence=event.sequence, create_time=_timestamp(event.created_at))
    if event.kind == "state":
        message.state = _STATES[JobState(event.payload["state"])]
    elif event.kind == "progress":
        message.progress.CopyFrom(pb.Progress(**event.payload))
    else:
        message.message = event.payload["text"]
    return message


def dataset_message(dataset: Dataset, *, with_rejected_files: bool = True) -> pb.Dataset:
    """Return a dataset; a listing leaves the files out that were rejected, which may be many."""
    summary = dataset.summary
    rejected = summary["rejected_files"] if with_rejected_files else []
    return pb.Dataset(
        name=dataset.name,
        digest=dataset.digest,
        labels=[pb.LabelCount(**each) for each in summary["labels"]],
        num_images=dataset.num_rows,
        size_bytes=dataset.size_bytes,
        split=pb.SplitSpec(**summary["split"]),
        rejected_files=[pb.RejectedFile(**each) for each in rejected],
        num_rejected_files=summary["num_rejected_files"],
        create_time=_timestamp(dataset.created_at),
    )


def row_messages(manifest: DatasetManifest, rows: Sequence[DatasetRow]) -> list[pb.DatasetRow]:
    """Return rows of a dataset."""
    return [
        pb.DatasetRow(
            path=row.path,
            label=manifest.labels[row.label],
            split=row.split,
            size_bytes=row.size,
            sha256=row.sha256,
        )
        for row in rows
    ]


def _recipe_message(recipe: Recipe) -> pb.Recipe:
    """Return a recipe with the fields that a caller may choose, and so may send again."""
    values = recipe.to_json()
    return pb.Recipe(name=recipe.name, **{field: values[field] for field in FIELDS[recipe.name]})


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return timestamp(moment) if moment is not None else None
