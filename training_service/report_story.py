"""The sections of a report that say how a version came to be: learning, data, recipe, lineage, how to do it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from model_store.lifecycle import JobState
from training_service.heads import STRENGTHS
from training_service.markup import Child, Markup, element, joined, table
from training_service.markup import facts as fact_list
from training_service.report_charts import Series, line_chart
from training_service.report_command import finetune_command
from training_service.report_facts import JobFacts

_SHOWN_HAPPENINGS = 60
_SHOWN_DIGITS = 12
_GOOD, _BAD = {JobState.SUCCEEDED}, {JobState.FAILED, JobState.CANCELLED}


def header(facts: JobFacts) -> Markup:
    """Say what this is about."""
    job, spec = facts.job, facts.job.spec
    state = "good" if job.state in _GOOD else "bad" if job.state in _BAD else "open"
    title = f"{spec.model_id} / {job.version.number}" if job.version is not None else spec.model_id
    about = f"{spec.recipe['name']} on datasets/{spec.dataset_id}, from {spec.base}"
    error = [element("p", job.error, class_="error")] if job.error else []
    return element(
        "header",
        element("p", "Training report", class_="eyebrow"),
        element("h1", title, " ", element("span", str(job.state), class_=f"state {state}")),
        element("p", about),
        *error,
    )


def learning(facts: JobFacts) -> Markup:
    """Show how loss and accuracy went on from epoch to epoch, and how each try to fit a head did."""
    charts = []
    if facts.tries:
        named = STRENGTHS if len(STRENGTHS) == len(facts.tries) else ()
        charts += _charts(
            dict(enumerate(facts.tries, start=1)), "head fit", "strength", [f"{each:g}" for each in named]
        )
    if facts.epochs:
        charts += _charts(facts.epochs, "training", "epoch")
    if not charts:
        return Markup()
    parts = [element("div", *charts, class_="pair")]
    if facts.epochs:
        best = min(facts.epochs, key=lambda epoch: facts.epochs[epoch]["validation_loss"])
        parts.append(element("p", f"The validation loss is lowest after epoch {best}.", class_="note"))
    return joined(parts)


def data(facts: JobFacts) -> Markup:
    """Show how many images of each label there are, and what was left out."""
    if facts.dataset is None:
        return element("p", f"datasets/{facts.job.spec.dataset_id} is not there any more.", class_="note")
    summary = facts.dataset.summary
    splits = ("num_train", "num_validation", "num_test")
    totals = [sum(each[split] for split in splits) for each in summary["labels"]]
    most = max(totals, default=1)
    rows: list[list[Child]] = [
        [each["label"], *(each[split] for split in splits), _meter(total, most)]
        for each, total in zip(summary["labels"], totals, strict=True)
    ]
    known = fact_list(
        [
            ("Images", f"{facts.dataset.num_rows:,}"),
            ("Labels", len(rows)),
            ("Left out", f"{summary['num_rejected_files']:,} files"),
            ("Encoded", size_text(facts.dataset.size_bytes)),
            ("Digest", element("code", facts.dataset.digest)),
        ]
    )
    columns = ("Label", "Train", "Validation", "Test", "All")
    counts = table(columns, rows, "Images by label and split", "numbers")
    return joined([known, counts if len(rows) <= 30 else element("details", element("summary", "All labels"), counts)])


def recipe(facts: JobFacts) -> Markup:
    """Show every hyperparameter, those that training found out included."""
    values = facts.version.lineage.recipe if facts.version is not None else facts.job.spec.recipe
    return fact_list([(name, _word(value)) for name, value in {**values, "seed": facts.job.spec.seed}.items()])


def lineage(facts: JobFacts) -> Markup:
    """Show what the version was made from, and what it shares with its base."""
    spec, version = facts.job.spec, facts.version
    known: list[tuple[str, Child]] = [
        ("Base", f"{spec.base}{'' if facts.base is not None else ' (not there any more)'}"),
        ("Dataset", f"datasets/{spec.dataset_id}"),
        ("Dataset digest", element("code", facts.dataset.digest) if facts.dataset is not None else ""),
        ("Seed", str(spec.seed)),
        ("Job", facts.job.name),
    ]
    if version is None:
        return fact_list(known)
    shared = {stage.digest for stage in facts.base.stages} if facts.base is not None else set()
    rows: list[list[Child]] = [
        [
            stage.name,
            element("code", stage.digest[:_SHOWN_DIGITS]),
            size_text(stage.size_bytes),
            "shared with the base" if stage.digest in shared else "trained",
        ]
        for stage in version.stages
    ]
    shared_bytes = sum(stage.size_bytes for stage in version.stages if stage.digest in shared)
    known += [
        ("Version", str(version.name)),
        ("Architecture", version.architecture),
        ("Size", f"{size_text(version.size_bytes)}, of which {size_text(shared_bytes)} are shared with the base"),
        ("Added to the store", size_text(version.added_bytes)),
        ("Manifest", element("code", version.manifest_digest)),
    ]
    stages = table(("Stage", "Digest", "Size", ""), rows, "Stages, first to last")
    return joined([fact_list(known), stages])


def happenings(facts: JobFacts) -> Markup:
    """Show how the job went, and when."""
    job, shown = facts.job, facts.happenings[-_SHOWN_HAPPENINGS:]
    rows = [
        (moment_text(each.created_at), str(each.payload.get("state") or each.payload.get("text"))) for each in shown
    ]
    ended = job.ended_at - job.started_at if job.ended_at is not None and job.started_at is not None else None
    known = fact_list(
        [
            ("Queued", moment_text(job.created_at)),
            ("Started", moment_text(job.started_at) if job.started_at is not None else ""),
            ("Took", f"{ended.total_seconds():,.1f} s" if ended is not None else ""),
            ("Attempts", job.num_attempts),
        ]
    )
    return joined([known, table(("When", "What"), rows, "What happened to the job")])


def reproduction(facts: JobFacts) -> Markup:
    """Show the command that does the same again."""
    note = "The dataset and the base never change: on a CPU, the same command gives the same weights."
    return joined(
        [element("pre", element("code", finetune_command(facts.job.spec))), element("p", note, class_="note")]
    )


def size_text(num_bytes: int) -> str:
    """Write a number of bytes in the unit that suits it."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _charts(
    figures: Mapping[int, Mapping[str, Any]], what: str, x_label: str, x_names: list[str] | None = None
) -> list[Markup]:
    losses = [_series(figures, key, name) for key, name in (("loss", "training"), ("validation_loss", "validation"))]
    accuracy = _series(figures, "validation_accuracy", "validation")
    drawn = (("loss", [each for each in losses if each.points]), ("accuracy", [accuracy]))
    return [
        element(
            "figure",
            element("figcaption", f"{name.capitalize()}, {what}"),
            line_chart(f"{name} by {x_label}, {what}", x_label, lines, x_names or ()),
        )
        for name, lines in drawn
    ]


def _series(figures: Mapping[int, Mapping[str, Any]], key: str, name: str) -> Series:
    return Series(name, [(float(x), each[key]) for x, each in sorted(figures.items()) if key in each])


def _meter(count: int, most: int) -> Markup:
    return element("span", str(count), class_="meter", style=f"--share:{count / max(most, 1):.3f}")


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
