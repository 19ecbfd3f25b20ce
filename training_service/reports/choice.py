"""The section of a report that says which bases were compared for a job, and what they showed of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from training_service.markup.scatter import Estimate, interval_chart
from training_service.markup.sections import Figure, Table
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS

_MEGABYTE = 1_000_000
_COLUMNS = ("Base", "Head", "90 % interval", "ms a row", "ms for 32", "MB")


@dataclass(frozen=True)
class ChoiceSection:
    """The candidates by score, as a table and over their latency; why one was chosen, and others were left out."""

    heading: ClassVar[str] = "Choice of the base"
    template: ClassVar[str] = "reports/choice.html"
    reason: str
    num_rows: int
    chart: Figure
    table: Table
    left_out: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class AdviceSection:
    """What is worth a look in the data: sentences, each with the first rows that it is about and the number of all."""

    heading: ClassVar[str] = "Advice on the data"
    template: ClassVar[str] = "reports/advice.html"
    lines: Sequence[tuple[str, Sequence[str], int]]


def choice(facts: JobFacts) -> ChoiceSection | None:
    """Return what the base was chosen by; None where the caller named it."""
    found = facts.job.recommendation
    if found is None:
        return None
    title = next(
        task.metrics[found["metric"]].title for task in TRAINING_TASKS.values() if found["metric"] in task.metrics
    )
    bases = found["bases"]
    estimates = [
        Estimate(
            str(place),
            1000 * each["row_seconds"],
            each["score"],
            each["interval"][0],
            each["interval"][1],
            is_chosen=place == found["chosen"] + 1,
        )
        for place, each in enumerate(bases, start=1)
    ]
    chart = interval_chart(f"{title} by latency", estimates, "milliseconds a row", title)
    rows = [_row(place, each) for place, each in enumerate(bases, start=1)]
    table = Table("Candidates, the best score first", ("", title, *_COLUMNS), rows, "candidates")
    left_out = [(each["base"], each["reason"]) for each in found["left_out"]]
    return ChoiceSection(
        found["reason"], found["num_rows"], Figure(f"{title} with its 90 % interval", chart), table, left_out
    )


def advice(facts: JobFacts) -> AdviceSection | None:
    """Return the advice; None where there is none, or the data was not looked at."""
    found = facts.job.recommendation
    if found is None or not found["advice"]:
        return None
    return AdviceSection([(each["text"], each["rows"], each["num_rows"]) for each in found["advice"]])


def _row(place: int, base: Mapping[str, Any]) -> list[str]:
    low, high = base["interval"]
    return [
        str(place),
        f"{base['score']:.3f}",
        base["base"] or base["architecture"],
        base["recipe"].get("head", "linear"),
        f"{low:.3f} to {high:.3f}",
        f"{1000 * base['row_seconds']:.3g}",
        f"{1000 * base['batch_seconds']:.3g}",
        f"{base['size_bytes'] / _MEGABYTE:.3g}",
    ]
