"""A training job as a person watches it: a progress bar with live metrics, then a table of results."""

from __future__ import annotations

import typer
from maas.training.v1 import training_pb2
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from maas_client.calls.jobs import ending_text, state_text
from maas_client.client import Client
from maas_client.errors import JobFailed
from maas_client.exit_codes import ExitCode
from maas_client.typed.shorthand import id_of, short_name
from maas_client.views.metrics import metric_name, show_metrics
from maas_client.views.output import notes, out, size
from maas_client.views.search import show_trials


def phase_text(phase: training_pb2.Phase) -> str:
    """Return what a job does, as people say it."""
    return training_pb2.Phase.Name(phase).removeprefix("PHASE_").replace("_", " ").lower()


def promotion_state(promotion: training_pb2.Promotion) -> str:
    """Return how far a promotion is, as people say it."""
    return training_pb2.PromotionState.Name(promotion.state).removeprefix("PROMOTION_STATE_").lower()


def promotion_text(promotion: training_pb2.Promotion) -> str:
    """Return what became of a promotion on one line."""
    return f"promotion {promotion_state(promotion)}: {promotion.reason}"


def choice_text(job: training_pb2.TrainingJob) -> str:
    """Say which base the service chose for a job, and why."""
    return f"base: {short_name(job.base)}, as the service recommends: {job.recommendation.reason}"


def follow(client: Client, job: str) -> training_pb2.TrainingJob:
    """Show a job's progress until it has ended, and return it; Ctrl-C leaves the job running, and says so."""
    try:
        _show_progress(client, job)
    except KeyboardInterrupt:
        notes.print(
            f"the job goes on: `maas jobs watch {id_of(job)}`, `maas jobs cancel {id_of(job)}`", highlight=False
        )
        raise
    return client.job(job)


def _show_progress(client: Client, job: str) -> None:
    live = TextColumn("{task.fields[live]}")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), live)
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("queued", total=1.0, live="")
        for event in client.watch(job):
            match event.WhichOneof("event"):
                case "state":
                    bar.update(task, description=state_text(event.state).lower())
                case "promotion":
                    notes.print(promotion_text(event.promotion), highlight=False)
                    bar.update(task, description=promotion_state(event.promotion))
                case "message":
                    notes.print(event.message, highlight=False)
                case "progress":
                    progress = event.progress
                    bar.update(
                        task,
                        completed=progress.fraction_done,
                        description=phase_text(progress.phase),
                        live=live_text(progress),
                    )


def check_succeeded(job: training_pb2.TrainingJob) -> None:
    """Raise JobFailed where a job has no version to show."""
    if job.state != training_pb2.TRAINING_JOB_STATE_SUCCEEDED:
        raise JobFailed(ending_text(job), job)


def check_promoted(job: training_pb2.TrainingJob) -> None:
    """Exit with REFUSED where a job's version was to be promoted and was refused: it is registered."""
    if job.promotion.state == training_pb2.PROMOTION_STATE_REFUSED:
        raise typer.Exit(ExitCode.REFUSED)


def live_text(progress: training_pb2.Progress) -> str:
    """Write what is known of a running job on one line."""
    parts = []
    if progress.epoch:
        parts.append(f"epoch {progress.epoch}/{progress.epoch_count}")
    if progress.HasField("loss"):
        parts.append(f"loss {progress.loss:.3f}")
    if progress.HasField("validation_metric"):
        parts.append(f"validation {metric_name(progress.metric_name)} {progress.validation_metric:.3f}")
    if progress.examples_per_second:
        parts.append(f"{progress.examples_per_second:.0f} examples/s")
    if seconds := progress.time_left.seconds:
        parts.append(f"{seconds} s left")
    return "  ".join(parts)


def show_result(client: Client, job: training_pb2.TrainingJob) -> None:
    """Print what came of a job that has succeeded."""
    show_trials(client, job)
    show_metrics(f"{job.version} on the {job.metrics.split} split", job.metrics)
    if job.HasField("recommendation"):
        out.print(choice_text(job), highlight=False, markup=False, soft_wrap=True)
    for remark in job.remarks:
        out.print(f"remark: {remark}", highlight=False, markup=False)
    if job.HasField("promotion"):
        out.print(promotion_text(job.promotion), highlight=False)
    version = client.version(job.version)
    out.print(f"stored {size(version.added_bytes)}; its stages have {size(version.size_bytes)}", highlight=False)
