"""The sections of a report that say how a job went: what it is about, how it learnt, what happened and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import REMARKS, JobEvent
from training_service.markup.charts import Series, line_chart
from training_service.markup.elements import Markup, element, joined, long_table, table
from training_service.markup.elements import facts as fact_list
from training_service.recipes.refitting import REFITTED
from training_service.reports.facts import JobFacts
from training_service.reports.words import duration_text, moment_text
from training_service.tasks import TRAINING_TASKS

_MAX_EVENTS = 60
_REFITTED_NOTE = (
    "The strength was chosen on validation rows, by a head fitted on training rows. The version's head was then "
    "fitted again on both together: figures of the validation split say nothing of it."
)
_GOOD, _BAD = {JobState.SUCCEEDED}, {JobState.FAILED, JobState.CANCELLED}


def header(facts: JobFacts) -> Markup:
    """Say what this is about."""
    job, spec = facts.job, facts.job.spec
    state = "good" if job.state in _GOOD else "bad" if job.state in _BAD else "open"
    title = f"{spec.model_id} / {job.version.number}" if job.version is not None else spec.model_id
    about = f"{spec.recipe['name']} on datasets/{spec.dataset_id}, from {spec.base}"
    error = [element("p", job.error.message, class_="error")] if job.error is not None else []
    told = facts.version.lineage.recipe.get(REMARKS, []) if facts.version is not None else []
    return element(
        "header",
        element("p", "Training report", class_="eyebrow"),
        element("h1", title, " ", element("span", str(job.state), class_=f"state {state}")),
        element("p", about),
        *error,
        *(element("p", remark, class_="note") for remark in told),
    )


def learning(facts: JobFacts) -> Markup:
    """Show how the loss and the task's metric went on from epoch to epoch, and how each try to fit a head did."""
    charts = []
    if facts.tries:
        strengths = facts.task.strengths if facts.task is not None else ()
        named = strengths if len(strengths) == len(facts.tries) else ()
        charts += _charts(
            dict(enumerate(facts.tries, start=1)), "head fit", "strength", [f"{each:g}" for each in named]
        )
    if facts.epochs:
        charts += _charts(facts.epochs, "training", "epoch")
    if not charts:
        return Markup()
    parts = [element("div", *charts, class_="pair")]
    if facts.version is not None and facts.version.lineage.recipe.get(REFITTED):
        parts.append(element("p", _REFITTED_NOTE, class_="note"))
    if facts.epochs:
        parts.append(element("p", _kept_text(facts), class_="note"))
        parts.append(element("details", element("summary", "Figures of each epoch"), _epochs(facts.epochs)))
    return joined(parts)


def history(facts: JobFacts) -> Markup:
    """Show how the job went, and when."""
    job, shown = facts.job, facts.history[-_MAX_EVENTS:]
    rows = [(moment_text(each.created_at), _event_text(each)) for each in shown]
    ended = job.ended_at - job.started_at if job.ended_at is not None and job.started_at is not None else None
    known = fact_list(
        [
            ("Queued", moment_text(job.created_at)),
            ("Started", moment_text(job.started_at) if job.started_at is not None else ""),
            ("Took", duration_text(ended.total_seconds()) if ended is not None else ""),
            ("Attempts", job.num_attempts),
        ]
    )
    forgotten = (
        f"{facts.num_forgotten} events before these are not kept any more, and the curves of the training with them."
    )
    note = [element("p", forgotten, class_="note")] if facts.num_forgotten else []
    return joined([known, *note, table(("When", "What"), rows, "What happened to the job")])


def _kept_text(facts: JobFacts) -> str:
    """Say which epoch ended with the lowest validation loss, and which one's weights the version has."""
    best = min(facts.epochs, key=lambda epoch: facts.epochs[epoch]["validation_loss"])
    kept = facts.version.lineage.recipe.get("kept_epoch") if facts.version is not None else None
    if kept == 0:
        return (
            "No epoch improved on the probe that training began with: the version is the probe, its head fitted again "
            "on training and validation rows."
        )
    lowest = f"Epoch {best} ended with the lowest validation loss."
    return f"{lowest} The version has the weights of epoch {kept}." if kept is not None else lowest


def _epochs(figures: Mapping[int, Mapping[str, Any]]) -> Markup:
    keys = ("loss", "validation_loss", "validation_metric")
    rows = [
        [str(epoch), *(f"{each[key]:.4f}" if key in each else "" for key in keys)]
        for epoch, each in sorted(figures.items())
    ]
    columns = ("Epoch", "Training loss", "Validation loss", f"Validation {_metric_title(figures)}")
    return long_table(columns, rows, "Loss and quality by epoch", "epochs")


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
    figures: Mapping[int, Mapping[str, Any]], what: str, x_label: str, x_names: list[str] | None = None
) -> list[Markup]:
    losses = [_series(figures, "loss", "training", 2), _series(figures, "validation_loss", "validation", 1)]
    metric = _series(figures, "validation_metric", "validation", 1)
    drawn = (("Loss", [each for each in losses if each.points]), (_metric_title(figures), [metric]))
    return [
        element(
            "figure",
            element("figcaption", f"{title}, {what}"),
            line_chart(f"{title} by {x_label}, {what}", x_label, lines, x_names or ()),
        )
        for title, lines in drawn
    ]


def _series(figures: Mapping[int, Mapping[str, Any]], key: str, name: str, colour: int) -> Series:
    return Series(name, [(float(x), each[key]) for x, each in sorted(figures.items()) if key in each], colour)
