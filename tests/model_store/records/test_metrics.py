"""Metrics of every task survive the form that the store keeps them in."""

from __future__ import annotations

import json

import pytest

from model_store.records.metrics import (
    DETAILS,
    ClassificationDetail,
    Detail,
    Interval,
    LabelMetrics,
    Metrics,
    MultiLabelDetail,
    RegressionDetail,
    TargetMetrics,
)

LABEL = LabelMetrics("rose", 0.5, 1.0, 2 / 3, 2)
EVERY = (
    ClassificationDetail((LABEL, LabelMetrics("tulip", 0, 0, 0, 0)), ((2, 0), (1, 0)), 1.5),
    MultiLabelDetail((LABEL, LabelMetrics("tulip", 0, 0, 0, 1, average_precision=0.25)), 0.5),
    RegressionDetail((TargetMetrics("price", 1.0, 2.0, None, (-3.0, -1.0, 0.0, 1.0, 3.0)),)),
)


@pytest.mark.parametrize("detail", [*EVERY, None], ids=[*DETAILS, "none"])
def test_metrics_survive_json(detail: Detail | None) -> None:
    """Figures, intervals, and whatever detail the task has."""
    metrics = Metrics("test", 3, {"accuracy": 2 / 3, "r2": -1.5}, {"accuracy": Interval(0.1, 1.0)}, detail)
    assert Metrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def test_every_detail_can_be_read() -> None:
    """Each kind stands in the dictionary under its own name."""
    assert {each.kind for each in EVERY} == set(DETAILS)
