"""The section of a report that says what each column says of the targets, and how much the version relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from training_service.evaluation.column_scores import MAX_COLUMNS, MAX_PERMUTED_ROWS, ColumnScore
from training_service.markup.charts import bar_chart
from training_service.markup.sections import Figure, Table
from training_service.reports.facts import JobFacts

_DRAWN = 20


@dataclass(frozen=True)
class ColumnsSection:
    """The importance of the first columns as a picture, and all scores as a table."""

    heading: ClassVar[str] = "Columns"
    template: ClassVar[str] = "reports/columns.html"
    charts: Sequence[Figure]
    table: Table
    max_columns: int
    max_rows: int


def columns(facts: JobFacts) -> ColumnsSection | None:
    """Return the scores; None where examples have no columns, or nothing was measured."""
    if not facts.columns or facts.task is None:
        return None
    title = facts.task.metrics[facts.task.headline].title
    drawn = facts.columns[:_DRAWN]
    caption = f"Fall of {title} when a column's cells change places"
    bars = bar_chart(caption, [(each.name, each.importance) for each in drawn])
    names = ("Column", "Importance", "Deviation", "Mutual information", "ANOVA F", "Variance")
    table = Table("Scores of each column", names, [_row(each) for each in facts.columns], "columns")
    return ColumnsSection([Figure(caption, bars)], table, MAX_COLUMNS, MAX_PERMUTED_ROWS)


def _row(score: ColumnScore) -> list[str]:
    return [
        score.name,
        f"{score.importance:.4f}",
        f"{score.deviation:.4f}",
        f"{score.mutual_information:.4f}",
        f"{score.f:.4g}",
        f"{score.variance:.4g}" if score.variance is not None else "",
    ]
