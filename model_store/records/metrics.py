"""How good a version is, as the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LabelMetrics:
    """Quality for one label; every share is 0 to 1."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Metrics:
    """Quality of a version on one split; `confusion_matrix[true][predicted]` counts rows.

    Scores are the softmax of logits divided by `temperature`; `uncalibrated_error` is the calibration error of those
    that are not divided. What was not measured, or has no value on these rows, is None.
    """

    split: str
    num_rows: int
    accuracy: float
    macro_f1: float
    expected_calibration_error: float
    labels: tuple[LabelMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    top5_accuracy: float | None = None
    log_loss: float | None = None
    roc_auc: float | None = None
    accuracy_interval: Interval | None = None
    macro_f1_interval: Interval | None = None
    uncalibrated_error: float | None = None
    temperature: float | None = None

    @property
    def values(self) -> dict[str, float]:
        """Return the numbers that sum the measurement up."""
        numbers = {name: getattr(self, name) for name in (*METRIC_NUMBERS, *OPTIONAL_METRIC_NUMBERS)}
        return {name: number for name, number in numbers.items() if number is not None}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without what is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Metrics:
        """Read what `to_json` wrote."""
        labels = tuple(LabelMetrics(**each) for each in values["labels"])
        matrix = tuple(tuple(row) for row in values["confusion_matrix"])
        intervals = {name: Interval(**values[name]) for name in METRIC_INTERVALS if name in values}
        return cls(**{**values, "labels": labels, "confusion_matrix": matrix, **intervals})


METRIC_NUMBERS = ("accuracy", "macro_f1", "expected_calibration_error")
"""The numbers that all metrics have."""


OPTIONAL_METRIC_NUMBERS = ("top5_accuracy", "log_loss", "roc_auc", "uncalibrated_error")


METRIC_INTERVALS = ("accuracy_interval", "macro_f1_interval")
