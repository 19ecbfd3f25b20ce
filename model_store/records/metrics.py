"""The quality of a version on some rows: figures by name, and a detail that depends on the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

RESIDUAL_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Shares of the rows that the residual quantiles of a target stand for."""


CROSS_VALIDATION = "cross_validation"
"""In place of a split: all rows of a dataset, each answered by a run of the recipe without it."""


@dataclass(frozen=True)
class Interval:
    """The 95 % confidence interval of a figure."""

    low: float
    high: float


@dataclass(frozen=True)
class LabelMetrics:
    """Quality for one label; every share is 0 to 1. `average_precision` is None if it was not measured."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    average_precision: float | None = None


@dataclass(frozen=True)
class TargetMetrics:
    """Quality for one target, in its own units; a residual is predicted - true.

    `residual_quantiles` are those of RESIDUAL_SHARES. `r2` is None if all rows have the same value.
    """

    target: str
    mae: float
    rmse: float
    r2: float | None
    residual_quantiles: tuple[float, ...]


@dataclass(frozen=True)
class ClassificationDetail:
    """Quality by label; `confusion_matrix[true][predicted]` counts rows.

    Scores are the softmax of the outputs divided by `temperature`.
    """

    kind: ClassVar[str] = "classification"
    labels: tuple[LabelMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    temperature: float = 1.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `Metrics.to_json` writes."""
        matrix = tuple(tuple(row) for row in values["confusion_matrix"])
        return cls(_labels(values), matrix, values["temperature"])


@dataclass(frozen=True)
class MultiLabelDetail:
    """Quality by label, each at a score of 0.5; scores are the sigmoid of the outputs divided by `temperature`."""

    kind: ClassVar[str] = "multi_label"
    labels: tuple[LabelMetrics, ...]
    temperature: float = 1.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `Metrics.to_json` writes."""
        return cls(_labels(values), values["temperature"])


@dataclass(frozen=True)
class RegressionDetail:
    """Quality by target."""

    kind: ClassVar[str] = "regression"
    targets: tuple[TargetMetrics, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `Metrics.to_json` writes."""
        each = ({**target, "residual_quantiles": tuple(target["residual_quantiles"])} for target in values["targets"])
        return cls(tuple(TargetMetrics(**target) for target in each))


Detail = ClassificationDetail | MultiLabelDetail | RegressionDetail
DETAILS: Mapping[str, type[Detail]] = {
    each.kind: each for each in (ClassificationDetail, MultiLabelDetail, RegressionDetail)
}
"""How the detail of each task is read, by the task's kind."""


@dataclass(frozen=True)
class CrossValidation:
    """One metric of a version's recipe, cross-validated on `num_rows` rows: not of the version, and not of a split.

    It is the mean over `num_repeats` draws of `num_folds` folds.
    """

    metric: str
    value: float
    interval: Interval
    num_rows: int
    num_folds: int
    num_repeats: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `Metrics.to_json` writes."""
        return cls(**{**values, "interval": Interval(**values["interval"])})


@dataclass(frozen=True)
class Metrics:
    """Quality of a version on one split: figures by name, some of them with an interval, and the task's own detail.

    `values` has no entry for a figure that was not measured, or has no value on these rows. `cross_validation` is how
    good the version's recipe is, where a dataset is too small for its test split to say.
    """

    split: str
    num_rows: int
    values: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    detail: Detail | None = None
    cross_validation: CrossValidation | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = asdict(self)
        if self.detail is not None:
            values["detail"] = {"kind": self.detail.kind, **values["detail"]}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes."""
        intervals = {name: Interval(**each) for name, each in values["intervals"].items()}
        detail = values["detail"]
        read = DETAILS[detail["kind"]].from_json(detail) if detail is not None else None
        found = values.get("cross_validation")
        cross_validation = CrossValidation.from_json(found) if found is not None else None
        return cls(values["split"], values["num_rows"], values["values"], intervals, read, cross_validation)


def _labels(values: Mapping[str, Any]) -> tuple[LabelMetrics, ...]:
    return tuple(LabelMetrics(**each) for each in values["labels"])
