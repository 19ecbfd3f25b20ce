"""Leaves out examples that are in a dataset already, and those that contradict each other."""

from __future__ import annotations

from collections.abc import Sequence

from training_service.datasets.examples import Example, NamedTarget, RejectedFile
from training_service.datasets.splits import Split
from training_service.datasets.targets import Targets

# Of equal files the held-out one is kept: its owner wants to test on it.
_KEPT_FIRST = (Split.TEST, Split.VALIDATION, Split.TRAIN, None)


def without_duplicates(
    found: Sequence[Example],
    old: Sequence[Example],
    parent: str,
    noun: str,
    targets: Targets,
    rejected: list[RejectedFile],
) -> list[Example]:
    """Keep one of equal examples, and none that the parent has; drop equal examples with different targets.

    The right target of those is unknown. Rows of the parent stay unchanged.
    """
    known = {example.sha256: f"{example.source} of {parent}" for example in old}
    found_targets: dict[str, set[NamedTarget]] = {}
    for example in (*old, *found):
        found_targets.setdefault(example.sha256, set()).add(example.target)
    kept = []
    for example in sorted(found, key=lambda example: _KEPT_FIRST.index(example.split)):
        if len(found_targets[example.sha256]) > 1:
            why = targets.conflict(list(found_targets[example.sha256]))
            rejected.append(RejectedFile(example.source, f"the same {noun} {why}"))
        elif example.sha256 in known:
            rejected.append(RejectedFile(example.source, f"the same {noun} as {known[example.sha256]}"))
        else:
            known[example.sha256] = example.source
            kept.append(example)
    return kept
