"""Matches a dataset's labels with those of a version, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from model_store.tasks import MultiLabel, Task
from training_service.tasks.matching import check_rows, first_places, lacks
from training_service.tasks.multi_label.metrics import Truth
from training_service.tasks.training_task import Matched


def match(version: Task, dataset: Task, targets: Truth, *, allow_unknown: bool) -> Matched:
    """Return the labels that both have, in the version's order, then those of rows that the version lacks.

    Of a label that the dataset does not have, it says nothing: it is left out. Raises InvalidInput where there are no
    rows, where rows have labels that the version lacks, unless they are allowed, and where both have none in common.
    """
    check_rows(len(targets))
    places = first_places(version.names)
    shared = sorted((places[name], column) for column, name in enumerate(dataset.names) if name in places)
    unknown = [(name, column) for column, name in enumerate(dataset.names) if name not in places]
    found = [(name, column) for name, column in unknown if targets[:, column].any()]
    if not shared or (found and not allow_unknown):
        raise lacks("labels", [name for name, _ in (found if shared else unknown)])
    names = (*(version.names[place] for place, _ in shared), *(name for name, _ in found))
    chosen = [*(column for _, column in shared), *(column for _, column in found)]
    columns = np.array([*(place for place, _ in shared), *(-1 for _ in found)])
    task = replace(cast("MultiLabel", version), labels=names)
    return Matched(task, targets[:, chosen], columns, tuple(name for name, _ in found))
