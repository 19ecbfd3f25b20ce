"""The sections of a report that say how good a version is: its figures, and what its task shows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_store.records.metrics import Interval, Metrics
from training_service.markup.charts import interval_bar
from training_service.markup.elements import Markup, element, joined
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Metric, Section

_UNCALIBRATED, _CALIBRATED = "uncalibrated_error", "expected_calibration_error"


def summary(facts: JobFacts) -> Markup:
    """Show the figures that sum a version up, with their intervals."""
    metrics = _metrics(facts)
    if metrics is None:
        return element("p", facts.not_evaluated, class_="note")
    note = f"Measured on the {metrics.num_rows:,} rows of the {metrics.split} split, which this job did not train on."
    if facts.evaluated is not None and facts.evaluated.warning:
        note += f" But {facts.evaluated.warning}."
    if facts.not_evaluated:
        note += f" These are the figures of when it was made. {facts.not_evaluated}"
    if metrics.intervals:
        note += " Intervals are those of 95 % confidence: percentiles of 1,000 bootstrap samples."
    return joined([element("div", *_tiles(metrics), class_="tiles"), element("p", note, class_="note")])


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


def _tiles(metrics: Metrics) -> Iterator[Markup]:
    known = TRAINING_TASKS[metrics.detail.kind].metrics if metrics.detail is not None else {}
    for name, form in known.items():
        if name in metrics.values and name != _UNCALIBRATED:
            unit = _before_scaling(metrics) if name == _CALIBRATED else form.unit
            yield _tile(form, metrics.values[name], metrics.intervals.get(name), unit)


def _before_scaling(metrics: Metrics) -> str:
    """Return the calibration error without the temperature, where there is one."""
    before, after = (metrics.values.get(name) for name in (_UNCALIBRATED, _CALIBRATED))
    return f"{before:.3f} before scaling" if before is not None and before != after else ""


def _tile(form: Metric, value: float, interval: Interval | None, unit: str) -> Markup:
    parts = [element("span", form.title, class_="name"), element("strong", form.text(value))]
    if interval is not None:
        text = f"{form.text(interval.low)} to {form.text(interval.high)}"
        if form.is_share:
            parts.append(interval_bar(f"{form.title} {text}", value, interval.low, interval.high))
        parts.append(element("small", text))
    elif unit:
        parts.append(element("small", unit))
    return element("div", *parts, class_="tile")
