"""Advice on the rows that candidates were compared on, by the features of the best one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model_store.modalities import InputSpec
from training_service.advice.advice import Advice, Examined
from training_service.advice.examination import examine
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.splits import Split
from training_service.datasets.targets import TARGETS
from training_service.evaluation.column_scores import filled_cells
from training_service.modalities.modality import TrainingModality
from training_service.modalities.prepared_rows import PreparedDataset
from training_service.training.heads import Features

MAX_COLUMNS = 50
"""Columns that are looked at, the first ones: each is a few fits of a small tree."""


def advice_on(
    data: PreparedDataset,
    features: Features,
    sample: DatasetManifest,
    whole: DatasetManifest,
    modality: TrainingModality,
    spec: InputSpec,
    check_going_on: Callable[[], None],
) -> Sequence[Advice]:
    """Return all advice on the rows of a sample that training may look at; `features` are those of these rows."""
    columns = [
        (each.name, filled_cells(data.rows, each, data.seen).astype(np.float64))
        for each in modality.columns(spec, sample)[:MAX_COLUMNS]
        if each.place is not None
    ]
    names = [sample.rows[place].source for place in data.seen.tolist()]
    examined = Examined(names, features, data.targets[data.seen], columns)
    test = whole.rows.positions(Split.TEST)
    targets = TARGETS[whole.task.kind].array(whole.task, whole.rows)[test]
    num_test = np.bincount(targets, minlength=len(whole.task.names)) if targets.ndim == 1 else np.zeros(0, np.int64)
    return examine(examined, whole.task, num_test, check_going_on)
