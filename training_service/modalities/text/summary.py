"""The summary of a dataset of texts for listings, beside its targets: how long they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

from training_service.datasets.examples import Example
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.modality import Remarked

_LONG = 2000
"""Words that no encoder of this family reads: a text is cut to its first few hundred."""


def summarise(
    manifest: DatasetManifest,
    new: Sequence[Example],  # noqa: ARG001  the rows have the facts of all
    observed: Any,  # noqa: ANN401, ARG001  nothing is observed
    parent: tuple[int, Mapping[str, Any]] | None,  # noqa: ARG001  as above
) -> Remarked:
    """Return how long all texts are, and say which are much longer than an encoder reads."""
    about = {name: _spread([row.facts[name] for row in manifest.rows]) for name in ("characters", "words")}
    long = [row.source for row in manifest.rows if row.facts["words"] > _LONG]
    remarks = []
    if long:
        remarks.append(
            f"{len(long)} texts have more than {_LONG} words, such as {long[0]!r}: an encoder reads the beginning alone"
        )
    return Remarked(about, remarks)


def _spread(values: Sequence[int]) -> dict[str, int]:
    return {"min": min(values), "median": median_low(values), "max": max(values)}
