"""Targets of multi-label: the indices of a row's labels, which may be none, in ascending order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model_store.tasks import MultiLabel, Task
from training_service.datasets.examples import Examples, NamedTarget, ReadExamples
from training_service.datasets.groups import Groups
from training_service.datasets.manifest import RowColumns, Target
from training_service.datasets.splits import MIN_ROWS_PER_LABEL, SPLITS, Split, SplitSpec
from training_service.datasets.stratified import assign_stratified
from training_service.datasets.targets.counts import label_counts, shown_counts
from training_service.datasets.targets.protocol import TargetsRefused

MAX_LABELS = 1000


def make_task(names: Sequence[str], targets: Sequence[NamedTarget]) -> Task:
    """Return the task with the upload's labels, or where it names none, those that occur, sorted."""
    found = {str(label) for target in targets for label in _labels(target)}
    return MultiLabel(tuple(names) or tuple(sorted(found)))


def indexed(places: Mapping[str, int], target: NamedTarget) -> Target:
    """Return the indices of labels."""
    return tuple(sorted(places[label] for label in _labels(target)))


def named(task: Task, target: Target) -> NamedTarget:
    """Return the labels of indices."""
    return tuple(task.names[index] for index in _indices(target))


def near_key(target: NamedTarget) -> str:  # noqa: ARG001  whatever the labels are
    """Return an empty key: near duplicates may have different labels, and are still kept in one split."""
    return ""


def conflict(targets: Sequence[NamedTarget]) -> str:
    """Name the sets of labels."""
    shown = sorted(" and ".join(_labels(target)) or "none" for target in targets)
    return f"has different labels: {', '.join(shown)}"


def check(examples: Examples, read: ReadExamples, noun: str, labels_are: str) -> None:  # noqa: ARG001  labels are columns
    """Raise TargetsRefused for too many labels, or for one with too few examples."""
    counts = Counter(dict.fromkeys(read.names, 0))
    counts.update(label for target in examples.targets for label in _labels(target))
    if not 1 <= len(counts) <= MAX_LABELS:
        raise TargetsRefused(f"must have 1 to {MAX_LABELS} labels; found {len(counts)}")
    if small := {label: count for label, count in counts.items() if count < MIN_ROWS_PER_LABEL}:
        raise TargetsRefused(
            f"needs at least {MIN_ROWS_PER_LABEL} different {noun}s with each label; too few with {shown_counts(small)}"
        )


def assign(examples: Examples, groups: Groups, split: SplitSpec, read: ReadExamples) -> list[Split]:
    """Assign so that each label has its share in each split."""
    return assign_stratified(
        examples.sha256,
        [_labels(target) for target in examples.targets],
        split,
        groups=groups,
        fixed=examples.splits,
        held_out=read.held_out,
    )


def check_splits(task: Task, rows: RowColumns) -> None:
    """Raise TargetsRefused where a label is on no row to train on."""
    found = set(rows.targets.values[np.repeat(rows.splits == SPLITS.index(Split.TRAIN), rows.targets.lengths)].tolist())
    if missing := [name for index, name in enumerate(task.names) if index not in found]:
        raise TargetsRefused(f"has nothing to train on with the labels {', '.join(map(repr, missing[:20]))}")


def array(task: Task, rows: RowColumns) -> NDArray[Any]:
    """Return float32 [n, labels], 1 where a row has a label, 0 elsewhere."""
    array = np.zeros((len(rows), len(task.names)), np.float32)
    array[np.repeat(np.arange(len(rows)), rows.targets.lengths), rows.targets.values.astype(np.int64)] = 1
    return array


def statistics(task: Task, rows: RowColumns) -> Mapping[str, Any]:
    """Return the number of rows of each label, by split."""
    return {"labels": label_counts(task.names, rows)}


def rows_per_output(statistics: Mapping[str, Any]) -> float:
    """Return the mean over labels of the rows to train on that have them."""
    counts = [each["num_train"] for each in statistics["labels"]]
    return float(sum(counts) / max(len(counts), 1))


def _labels(target: NamedTarget) -> tuple[str, ...]:
    return cast("tuple[str, ...]", target)


def _indices(target: Target) -> tuple[int, ...]:
    return cast("tuple[int, ...]", target)
