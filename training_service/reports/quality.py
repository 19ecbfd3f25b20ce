"""The sections of a report that say how good a version is: its figures, and what its task shows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from model_store.records.metrics import CrossValidation, Interval, Metrics
from training_service.markup.charts import interval_bar
from training_service.markup.picture import Picture
from training_service.markup.sections import Section
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS, TrainingTask
from training_service.tasks.training_task import Metric

UNCALIBRATED, _CALIBRATED = "uncalibrated_error", "expected_calibration_error"


@dataclass(frozen=True)
class Tile:
    """One figure: its name and value, a remark below it, and its interval as a picture where it is a share."""

    name: str
    value: str
    remark: str = ""
    bar: Picture | None = None


@dataclass(frozen=True)
class Quality:
    """The figures that sum a version up; without metrics there is none, and the facts say why."""

    heading: ClassVar[str] = "Quality"
    template: ClassVar[str] = "reports/quality.html"
    metrics: Metrics | None
    tiles: Sequence[Tile]
    cross_validated: str = ""


def quality(facts: JobFacts) -> Quality:
    """Return the figures with their intervals."""
    metrics = _metrics(facts)
    made = facts.version.metrics if facts.version is not None else None  # an evaluation fits no recipe
    found = made.cross_validation if made is not None else None
    told = _cross_validated(found, TRAINING_TASKS[made.detail.kind]) if made and made.detail and found else ""
    return Quality(metrics, list(_tiles(metrics)) if metrics is not None else [], told)


def _cross_validated(found: CrossValidation, task: TrainingTask) -> str:
    form = task.metrics[found.metric]
    low, high = form.text(found.interval.low), form.text(found.interval.high)
    return (
        f"The recipe itself has {form.title.lower() if not form.title.isupper() else form.title} "
        f"{form.text(found.value)} ({low} to {high}) in cross-validation on all {found.num_rows:,} rows, the mean of "
        f"{found.num_repeats} draws of {found.num_folds} folds: other fits of the same recipe, and no figure of the "
        "test split."
    )


def task_sections(facts: JobFacts) -> Sequence[Section]:
    """Return what the task shows of a version's quality; nothing where nothing was measured."""
    metrics = _metrics(facts)
    if metrics is None or metrics.detail is None:
        return ()
    answers = facts.evaluated.evaluation.answers if facts.evaluated is not None else None
    return TRAINING_TASKS[metrics.detail.kind].sections(metrics, answers)


def _metrics(facts: JobFacts) -> Metrics | None:
    """Return what was measured now, else what was measured when the version was made."""
    if facts.evaluated is not None:
        return facts.evaluated.evaluation.metrics
    return facts.version.metrics if facts.version is not None else None


def _tiles(metrics: Metrics) -> Iterator[Tile]:
    known = TRAINING_TASKS[metrics.detail.kind].metrics if metrics.detail is not None else {}
    for name, form in known.items():
        if name in metrics.values and name != UNCALIBRATED:
            unit = _before_scaling(metrics) if name == _CALIBRATED else form.unit
            yield _tile(form, metrics.values[name], metrics.intervals.get(name), unit)


def _before_scaling(metrics: Metrics) -> str:
    """Return the calibration error without the temperature, where there is one."""
    before, after = (metrics.values.get(name) for name in (UNCALIBRATED, _CALIBRATED))
    return f"{before:.3f} before scaling" if before is not None and before != after else ""


def _tile(form: Metric, value: float, interval: Interval | None, unit: str) -> Tile:
    if interval is None:
        return Tile(form.title, form.text(value), unit)
    text = f"{form.text(interval.low)} to {form.text(interval.high)}"
    bar = interval_bar(f"{form.title} {text}", value, interval.low, interval.high) if form.is_share else None
    return Tile(form.title, form.text(value), text, bar)
