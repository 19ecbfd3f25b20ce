"""The sections of a report that say how a job went: what it is about, how it learnt, what happened and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import REMARKS, JobEvent
from training_service.markup.charts import Series, line_chart
from training_service.markup.sections import Figure, Table
from training_service.recipes.refitting import REFITTED
from training_service.reports.facts import JobFacts
from training_service.reports.words import moment_text
from training_service.tasks import TRAINING_TASKS

_MAX_EVENTS = 60
_MOODS = {JobState.SUCCEEDED: "good", JobState.FAILED: "bad", JobState.CANCELLED: "bad"}


@dataclass(frozen=True)
class Header:
    """What is above all sections, beside the job itself: the colour of its state, and remarks of the training."""

    mood: str
    remarks: Sequence[str]


@dataclass(frozen=True)
class Learning:
    """Loss and metric by epoch, and by regularisation strength of the head.

    `best_epoch` has the lowest validation loss; `kept_epoch` is the one whose weights the version has, 0 where these
    are the probe's that training began with.
    """

    heading: ClassVar[str] = "Learning"
    template: ClassVar[str] = "reports/learning.html"
    charts: Sequence[Figure]
    epochs: Table | None
    best_epoch: int | None
    kept_epoch: int | None
    is_refitted: bool


@dataclass(frozen=True)
class History:
    """The last events of the job, when and what, and how many seconds it took where it has ended."""

    heading: ClassVar[str] = "History"
    template: ClassVar[str] = "reports/history.html"
    events: Sequence[tuple[str, str]]
    took_seconds: float | None


def header(facts: JobFacts) -> Header:
    """Return what the job's state looks like, and what training remarked."""
    return Header(_MOODS.get(facts.job.state, "open"), _recipe(facts).get(REMARKS, []))


def learning(facts: JobFacts) -> Learning | None:
    """Return the curves; None where there are none, as one point is no curve."""
    charts = []
    if len(facts.tries) > 1:
        strengths = facts.task.strengths if facts.task is not None else ()
        named = strengths if len(strengths) == len(facts.tries) else ()
        tries = dict(enumerate(facts.tries, start=1))
        charts += _charts(tries, "head fit", "regularisation strength", [f"{each:g}" for each in named])
    if len(facts.epochs) > 1:
        charts += _charts(facts.epochs, "training", "epoch")
    if not charts and not facts.epochs:
        return None
    return Learning(
        charts,
        _epochs(facts.epochs) if facts.epochs else None,
        min(facts.epochs, key=lambda epoch: facts.epochs[epoch]["validation_loss"], default=None),
        _recipe(facts).get("kept_epoch"),
        bool(_recipe(facts).get(REFITTED)),
    )


def history(facts: JobFacts) -> History:
    """Return how the job went, and when."""
    job, shown = facts.job, facts.history[-_MAX_EVENTS:]
    took = job.ended_at - job.started_at if job.ended_at is not None and job.started_at is not None else None
    events = [(moment_text(each.created_at), _event_text(each)) for each in shown]
    return History(events, took.total_seconds() if took is not None else None)


def _recipe(facts: JobFacts) -> Mapping[str, Any]:
    """Return the recipe of the version, with what training found out; empty where there is no version."""
    return facts.version.lineage.recipe if facts.version is not None else {}


def _epochs(figures: Mapping[int, Mapping[str, Any]]) -> Table:
    keys = ("loss", "validation_loss", "validation_metric")
    rows = [
        [str(epoch), *(f"{each[key]:.4f}" if key in each else "" for key in keys)]
        for epoch, each in sorted(figures.items())
    ]
    columns = ("Epoch", "Training loss", "Validation loss", f"Validation {_metric_title(figures)}")
    return Table("Loss and quality by epoch", columns, rows, "epochs")


def _metric_title(figures: Mapping[int, Mapping[str, Any]]) -> str:
    """Return the title of the metric that sums the task up, by the name that the events of the job have."""
    name = next((str(each["metric_name"]) for each in figures.values() if each.get("metric_name")), "Metric")
    return next((task.metrics[name].title for task in TRAINING_TASKS.values() if name in task.metrics), name)


def _event_text(event: JobEvent) -> str:
    payload = event.payload
    if event.kind == "promotion":
        return f"promotion {payload['state']}: {payload['reason']}"
    return str(payload["state"] if event.kind == "state" else payload["text"])


def _charts(
    figures: Mapping[int, Mapping[str, Any]], what: str, x_label: str, x_names: Sequence[str] = ()
) -> list[Figure]:
    losses = [_series(figures, "loss", "training", 2), _series(figures, "validation_loss", "validation", 1)]
    metric = _series(figures, "validation_metric", "validation", 1)
    drawn = (("Loss", [each for each in losses if each.points]), (_metric_title(figures), [metric]))
    return [
        Figure(f"{title}, {what}", line_chart(f"{title} by {x_label}, {what}", x_label, lines, x_names))
        for title, lines in drawn
    ]


def _series(figures: Mapping[int, Mapping[str, Any]], key: str, name: str, colour: int) -> Series:
    return Series(name, [(float(x), each[key]) for x, each in sorted(figures.items()) if key in each], colour)
