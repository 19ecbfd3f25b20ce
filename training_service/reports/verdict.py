"""The section that opens a report: whether the version is better than what is served, by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from model_store.records.promotion import DEFAULT_MIN_ROWS
from training_service.evaluation.difference import Difference, difference
from training_service.reports.facts import JobFacts
from training_service.reports.quality import UNCALIBRATED
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Metric


@dataclass(frozen=True)
class VerdictSection:
    """One sentence, whose first `words` have a colour, and the figures of the version and of its rival, by name."""

    heading: ClassVar[str] = "Verdict"
    template: ClassVar[str] = "reports/verdict.html"
    mood: str
    words: str
    rest: str
    why: str
    rows: str
    columns: Sequence[str]
    figures: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Judgement:
    """The first words of a verdict, their colour on the page, and the word between them and the rival."""

    mood: str
    words: str
    link: str


def verdict(facts: JobFacts) -> VerdictSection | None:
    """Return the verdict; None where nothing can be compared."""
    rival = facts.rival
    if rival is None:
        return None
    pairs = rival.pairs
    task = TRAINING_TASKS[pairs.own[0].task.kind]
    found = difference(task, pairs.own, pairs.other, groups=pairs.groups)
    judgement = judged(found)
    figures = [
        (task.metrics[name].title, task.metrics[name].text(own), task.metrics[name].text(other))
        for name, (own, other) in pairs.metrics.items()
        if name != UNCALIBRATED
    ]
    rest = f"{judgement.link} {rival.text}: {_figures_text(found, task.metrics[task.headline], pairs.rows_text)}"
    columns = ("Figure", "This version", rival.name)
    return VerdictSection(judgement.mood, judgement.words, rest, rival.why, pairs.rows_text, columns, figures)


def judged(found: Difference) -> Judgement:
    """Say whether the version is better by more than chance; of few rows, nothing is said."""
    if not found.is_known or found.num_rows < DEFAULT_MIN_ROWS:
        return Judgement("open", "Too few rows", "to compare with")
    if found.is_better:
        return Judgement("good", "Better", "than")
    return Judgement("bad", "Worse", "than") if found.is_worse else Judgement("open", "No clear difference", "from")


def _figures_text(found: Difference, metric: Metric, rows: str) -> str:
    title = metric.title if metric.title.isupper() else metric.title[0].lower() + metric.title[1:]
    if not found.is_known:
        return f"{title} has no value on {found.num_rows:,} {rows}."
    figures = f"{title} {metric.text(found.figure)} against {metric.text(found.other)}"
    apart = f"{found.figure - found.other:+.3f} (95 % interval {found.interval.low:+.3f} to {found.interval.high:+.3f})"
    return f"{figures} on the same {found.num_rows:,} {rows}, a difference of {apart}."
