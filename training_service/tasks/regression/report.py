"""What a report shows of a regression: predicted and true values, residuals, targets, and the largest errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import Metrics, RegressionDetail, TargetMetrics
from training_service.markup.scatter import histogram, scatter_chart
from training_service.markup.sections import Figure, Section, Table, TableSection
from training_service.tasks.training_task import Answers, Mistake, Mistakes

_SHOWN_TARGETS = 6
_NUM_BARS = 20
_LEAST_RANGE = 1e-6  # of all bars, as a share of the numbers' size


@dataclass(frozen=True)
class ChartsSection:
    """A chart for each of the first targets, with a note below; `num_more` targets have none."""

    heading: str
    charts: Sequence[Figure]
    note: str = ""
    num_more: int = 0
    template: str = "tasks/regression/charts.html"


def sections(metrics: Metrics, answers: Answers | None) -> Sequence[Section]:
    """Return predicted and true values and residuals, where the answers are at hand, and the targets."""
    detail = cast("RegressionDetail", metrics.detail)
    found: list[Section] = []
    if answers is not None:
        found += [_pairs(answers), _residuals(answers)]
    return [*found, _targets(detail)]


def describe_targets(statistics: Mapping[str, Any]) -> Table:
    """Return how each target of a dataset is spread."""
    figures = ("min", "mean", "std", "max")
    rows = [[each["target"], *(f"{each[name]:.4g}" for name in figures)] for each in statistics["targets"]]
    columns = ("Target", "Minimum", "Mean", "Standard deviation", "Maximum")
    return Table("Targets over all rows", columns, rows, "targets")


def mistakes(answers: Answers, most: int) -> Mistakes:
    """Return the rows with the largest errors, in standard deviations of each target."""
    spread = answers.targets.std(axis=0, dtype=np.float64)
    errors = np.abs(answers.outputs - answers.targets.astype(np.float64)) / np.where(spread > 0, spread, 1)
    worst = np.argsort(-errors.max(axis=1), kind="stable")[:most]
    note = f"The {len(worst)} of {len(answers)} test rows with the largest errors, by the targets' standard deviations."
    return Mistakes(note, [_mistake(answers, int(row), int(errors[row].argmax())) for row in worst])


def _mistake(answers: Answers, row: int, target: int) -> Mistake:
    name = f"{answers.task.names[target]} " if len(answers.task.names) > 1 else ""
    predicted, true = float(answers.outputs[row, target]), float(answers.targets[row, target])
    return Mistake(row, f"{name}{predicted:.4g}", f"is {true:.4g}")


def _pairs(answers: Answers) -> ChartsSection:
    charts = [
        Figure(
            name,
            scatter_chart(
                f"Predicted {name} by true {name}",
                list(zip(answers.targets[:, i].tolist(), answers.outputs[:, i].tolist(), strict=True)),
                "true",
                "predicted",
            ),
        )
        for i, name in _shown(answers)
    ]
    note = "Each point is a test row. On the diagonal, predicted and true values are the same."
    return ChartsSection("Predicted and true", charts, note, len(answers.task.names) - len(charts))


def _residuals(answers: Answers) -> ChartsSection:
    charts = []
    for i, name in _shown(answers):
        residuals = answers.outputs[:, i].astype(np.float64) - answers.targets[:, i]
        counts, edges = np.histogram(residuals, bins=_NUM_BARS, range=_range(residuals))
        chart = histogram(f"Residuals of {name}", edges.tolist(), counts.tolist(), "predicted - true")
        charts.append(Figure(name, chart))
    return ChartsSection("Residuals", charts)


def _range(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """Return the least and the greatest number, further apart where bars between them would have no width."""
    low, high = float(numbers.min()), float(numbers.max())
    size = max(abs(low), abs(high))
    if high - low > _LEAST_RANGE * size:
        return low, high
    return low - (size / 2 or 0.5), high + (size / 2 or 0.5)


def _targets(detail: RegressionDetail) -> TableSection:
    rows = [_target_row(each) for each in sorted(detail.targets, key=_by_r2)]
    columns = ("Target", "R2", "RMSE", "MAE", "90 % of residuals")
    return TableSection("Targets", Table("Quality by target, the worst first", columns, rows, "targets"))


def _target_row(each: TargetMetrics) -> list[str]:
    low, high = each.residual_quantiles[0], each.residual_quantiles[-1]
    r2 = f"{each.r2:.3f}" if each.r2 is not None else ""
    return [each.target, r2, f"{each.rmse:.4g}", f"{each.mae:.4g}", f"{low:.4g} to {high:.4g}"]


def _by_r2(each: TargetMetrics) -> tuple[float, str]:
    return (each.r2 if each.r2 is not None else 1.0, each.target)


def _shown(answers: Answers) -> list[tuple[int, str]]:
    return list(enumerate(answers.task.names))[:_SHOWN_TARGETS]
