"""What is learned and measured for each task: a package for each, found in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from training_service.tasks.classification import CLASSIFICATION
from training_service.tasks.multi_label import MULTI_LABEL
from training_service.tasks.regression import REGRESSION
from training_service.tasks.training_task import TrainingTask

TRAINING_TASKS: Mapping[str, TrainingTask] = {each.kind: each for each in (CLASSIFICATION, MULTI_LABEL, REGRESSION)}
"""By the kind of the task."""

__all__ = ["TRAINING_TASKS", "TrainingTask"]
