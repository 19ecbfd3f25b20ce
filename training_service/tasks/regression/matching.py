"""Matches a dataset's targets with those of a version, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model_store.tasks import Regression, Task
from training_service.tasks.matching import check_rows, first_places, lacks
from training_service.tasks.training_task import Matched


def match(
    version: Task,
    dataset: Task,
    targets: NDArray[np.float32],
    *,
    allow_unknown: bool,  # noqa: ARG001  as the other tasks are called
) -> Matched:
    """Return the targets that both have, in the version's order.

    A row cannot be wrong for a target that the version lacks: whatever is allowed, that is an error. Raises
    InvalidInput for it, and where there are no rows.
    """
    check_rows(len(targets))
    places = first_places(version.names)
    shared = sorted((places[name], column) for column, name in enumerate(dataset.names) if name in places)
    unknown = tuple(name for name in dataset.names if name not in places)
    if unknown:
        raise lacks("targets", unknown)
    task = replace(cast("Regression", version), targets=tuple(version.names[place] for place, _ in shared))
    chosen = [column for _, column in shared]
    return Matched(task, targets[:, chosen], np.array([place for place, _ in shared]))
