"""Metrics as a person reads them: a table of labels or targets, and one line that sums it up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.views.output import as_text, out, print_table

_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "mean_average_precision": "mean average precision",
    "subset_accuracy": "subset accuracy",
    "r2": "R2",
    "rmse": "RMSE",
    "mae": "MAE",
    "top5_accuracy": "top 5",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "expected_calibration_error": "calibration error",
}
"""How the metrics of all tasks are written, in the order that they are shown in."""
_HEADLINES = {"classification": "accuracy", "multi_label": "macro_f1", "regression": "r2"}
_CALIBRATION = "expected_calibration_error"
_UNCALIBRATED = "uncalibrated_error"
_SHOWN = 4  # digits of a figure that may have any size


def show_metrics(title: str, metrics: pb.Metrics, *, is_remembered: bool = False) -> None:
    """Print how good a version is; of rows that it learned from, only how well it remembers them, without intervals."""
    out.print(as_text(title), style="bold", soft_wrap=True)  # longer than the table is wide
    if is_remembered:
        name = headline(metrics)
        told = f" with {_NAMES[name]} {_text(name, metrics.values[name])}" if name in metrics.values else ""
        out.print(f"remembers these rows{told}: that says nothing of other rows", highlight=False)
        return
    if kind := metrics.WhichOneof("detail"):
        columns, rows = _TABLES[kind](getattr(metrics, kind))
        print_table("", columns, rows, "")
    out.print("  ".join(_summary(metrics)), highlight=False)
    if metrics.HasField("cross_validation"):
        out.print(_cross_validated(metrics.cross_validation), highlight=False, soft_wrap=True)


def headline(metrics: pb.Metrics) -> str:
    """Return the name of the metric that sums a version up, by its task; empty where the task is not known."""
    return _HEADLINES.get(metrics.WhichOneof("detail") or "", "")


def metric_name(name: str) -> str:
    """Return the name of a metric as it is written in a sentence."""
    return _NAMES.get(name, name.replace("_", " "))


def temperature_of(metrics: pb.Metrics) -> float:
    """Return the temperature that the scores were made with; 1 where there is none."""
    kind = metrics.WhichOneof("detail")
    return float(getattr(getattr(metrics, kind), "temperature", 1.0) if kind else 1.0)


def _classification(detail: pb.ClassificationDetail) -> tuple[list[str], list[tuple[Any, ...]]]:
    return ["label", "precision", "recall", "F1", "rows"], [_shares(each) for each in detail.labels]


def _multi_label(detail: pb.MultiLabelDetail) -> tuple[list[str], list[tuple[Any, ...]]]:
    rows = [
        (*_shares(each), f"{each.average_precision:.3f}" if each.HasField("average_precision") else "")
        for each in detail.labels
    ]
    return ["label", "precision", "recall", "F1", "rows", "average precision"], rows


def _regression(detail: pb.RegressionDetail) -> tuple[list[str], list[tuple[Any, ...]]]:
    rows = [
        (each.target, _number(each.mae), _number(each.rmse), f"{each.r2:.3f}" if each.HasField("r2") else "")
        for each in detail.targets
    ]
    return ["target", "MAE", "RMSE", "R2"], rows


_TABLES: Mapping[str, Callable[[Any], tuple[list[str], list[tuple[Any, ...]]]]] = {
    "classification": _classification,
    "multi_label": _multi_label,
    "regression": _regression,
}
"""The columns and rows of each task's table, by the kind of detail."""


def _shares(each: pb.LabelMetrics) -> tuple[str, str, str, str, int]:
    return each.label, f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}", each.support


def _summary(metrics: pb.Metrics) -> Iterator[str]:
    for name in _shown(metrics.values):
        told = f"{metric_name(name)} {_text(name, metrics.values[name])}"
        if name in metrics.intervals:
            interval = metrics.intervals[name]
            told += f" ({_text(name, interval.low)} to {_text(name, interval.high)})"
        yield told + (_before_scaling(metrics) if name == _CALIBRATION else "")


def _cross_validated(found: pb.CrossValidation) -> str:
    low, high = (_text(found.metric, bound) for bound in (found.interval.low, found.interval.high))
    return (
        f"the recipe, cross-validated on all {found.row_count} examples ({found.fold_count} folds, "
        f"{found.repeat_count} draws): {metric_name(found.metric)} {_text(found.metric, found.value)} ({low} to {high})"
    )


def _shown(names: Iterable[str]) -> list[str]:
    """Return the names that are known in their order, then the others by name."""
    found = set(names) - {_UNCALIBRATED}
    return [*(name for name in _NAMES if name in found), *sorted(found - set(_NAMES))]


def _text(name: str, value: float) -> str:
    """Write a share with three decimals, and any other number with as many digits as tell something."""
    return f"{value:.3f}" if name in _NAMES and name not in {"mae", "rmse"} else _number(value)


def _number(value: float) -> str:
    return f"{value:.{_SHOWN}g}"


def _before_scaling(metrics: pb.Metrics) -> str:
    """Say what the temperature is good for, where there is one."""
    temperature = temperature_of(metrics)
    if temperature == 1 or _UNCALIBRATED not in metrics.values:
        return ""
    return f" (temperature {temperature:.2f}; {metrics.values[_UNCALIBRATED]:.3f} without)"
