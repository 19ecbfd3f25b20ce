"""Targets of each task: reading, assignment to splits, counts, arrays; a module for each task."""

from __future__ import annotations

from collections.abc import Mapping

from training_service.datasets.targets import classification, multi_label, regression
from training_service.datasets.targets.protocol import Targets, TargetsRefused

TARGETS: Mapping[str, Targets] = {
    "classification": classification,
    "multi_label": multi_label,
    "regression": regression,
}
"""By the kind of the task."""

__all__ = ["TARGETS", "Targets", "TargetsRefused"]
