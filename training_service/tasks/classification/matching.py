"""Matches a dataset's labels with those of a version, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from model_store.tasks import Classification, Task
from training_service.tasks.classification.metrics import Labels
from training_service.tasks.matching import check_rows, first_places, lacks
from training_service.tasks.training_task import Matched


def match(version: Task, dataset: Task, targets: Labels, *, allow_unknown: bool) -> Matched:
    """Return the version's labels, then those of rows that it lacks, and for each row which of these is its own.

    A row whose label the version lacks is wrong whatever it answers. Raises InvalidInput where there are no rows, where
    rows have such labels, unless they are allowed, and where all have.
    """
    check_rows(len(targets))
    known = set(version.names)
    found = [dataset.names[index] for index in np.unique(targets)]
    unknown = tuple(label for label in found if label not in known)
    if len(unknown) == len(found) or (unknown and not allow_unknown):
        raise lacks("labels", unknown)
    names = (*version.names, *unknown)
    places = first_places(names)
    index_of = np.array([places.get(label, -1) for label in dataset.names])
    columns = np.array([*range(len(version.names)), *(-1 for _ in unknown)])
    return Matched(replace(cast("Classification", version), labels=names), index_of[targets], columns, unknown)
