"""The metrics that the command knows are those that the service decides by."""

from __future__ import annotations

from maas_client.typed.metric_names import METRICS
from training_service.tasks import TRAINING_TASKS


def test_the_metrics_are_the_services() -> None:
    """For each task, its own first."""
    assert {kind: set(names) for kind, names in METRICS.items()} == {
        kind: set(task.metrics) for kind, task in TRAINING_TASKS.items()
    }
    assert all(METRICS[kind][0] == task.headline for kind, task in TRAINING_TASKS.items())
