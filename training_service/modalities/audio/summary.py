"""The summary of a dataset of recordings for listings, beside its targets: durations, rates, channels and silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

from training_service.datasets.examples import Example
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.modality import Remarked

_SHORT_MILLISECONDS = 50


def summarise(
    manifest: DatasetManifest,
    new: Sequence[Example],
    observed: Mapping[str, bool],
    parent: tuple[int, Mapping[str, Any]] | None,
) -> Remarked:
    """Return the spread of durations, and the sample rates; say which of the new recordings are silent or very short.

    `observed` says of each digest whether the recording is silent.
    """
    milliseconds = [row.facts["milliseconds"] for row in manifest.rows]
    silent = sorted(example.source for example in new if observed[example.sha256])
    short = sorted(example.source for example in new if example.facts["milliseconds"] < _SHORT_MILLISECONDS)
    about = {
        "milliseconds": {"min": min(milliseconds), "median": median_low(milliseconds), "max": max(milliseconds)},
        "total_milliseconds": sum(milliseconds),
        "rates": sorted({row.facts["rate"] for row in manifest.rows}),
        "max_channels": max(row.facts["channels"] for row in manifest.rows),
        "num_silent": len(silent) + (parent[1]["num_silent"] if parent is not None else 0),
    }
    remarks = []
    if silent:
        remarks.append(f"{len(silent)} recordings are silent, such as {silent[0]!r}: they are used as they are")
    if short:
        remarks.append(f"{len(short)} recordings are shorter than {_SHORT_MILLISECONDS} ms, such as {short[0]!r}")
    return Remarked(about, remarks)
