"""The tasks, the question that a model answers about an example: one module each, found in one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from model_store.errors import InvalidManifest
from model_store.tasks.classification import Classification
from model_store.tasks.multi_label import MultiLabel
from model_store.tasks.regression import Regression
from model_store.tasks.task import Activation, Task

TASKS: Mapping[str, Callable[[Mapping[str, Any]], Task]] = {
    "classification": Classification.from_json,
    "multi_label": MultiLabel.from_json,
    "regression": Regression.from_json,
}
"""How a manifest's task is read, by its kind."""


def read_task(values: object) -> Task:
    """Read the task of a manifest; raise InvalidManifest naming the field that is wrong."""
    kind = values.get("kind") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(kind, str) or kind not in TASKS:
        raise InvalidManifest(f"task.kind must be one of {', '.join(TASKS)}, not {kind!r}")
    return TASKS[kind](values)


__all__ = [
    "TASKS",
    "Activation",
    "Classification",
    "MultiLabel",
    "Regression",
    "Task",
    "read_task",
]
