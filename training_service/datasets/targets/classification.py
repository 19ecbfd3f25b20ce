"""Targets of classification: the index of a row's one label, among all labels in alphabetical order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model_store.tasks import Classification, Task
from training_service.datasets.examples import Example, NamedTarget, ReadExamples
from training_service.datasets.manifest import DatasetRow, Target
from training_service.datasets.splits import MIN_ROWS_PER_LABEL, Split, SplitSource, SplitSpec, assign_splits
from training_service.datasets.stratified import assign_stratified
from training_service.datasets.targets.counts import label_counts, shown_counts
from training_service.datasets.targets.protocol import TargetsRefused

MAX_LABELS = 1000


def make_task(names: Sequence[str], targets: Sequence[NamedTarget]) -> Task:  # noqa: ARG001  labels are what is found
    """Return the task with the labels that occur, sorted."""
    return Classification(tuple(sorted(map(str, set(targets)))))


def indexed(places: Mapping[str, int], target: NamedTarget) -> Target:
    """Return the index of a label."""
    return places[str(target)]


def named(task: Task, target: Target) -> NamedTarget:
    """Return the label of an index."""
    return task.names[cast("int", target)]


def near_key(target: NamedTarget) -> str:
    """Return the label."""
    return str(target)


def conflict(targets: Sequence[NamedTarget]) -> str:
    """Name the labels."""
    return f"has different labels: {', '.join(sorted(map(str, targets)))}"


def check(examples: Sequence[Example], read: ReadExamples, noun: str, labels_are: str) -> None:
    """Raise TargetsRefused for too few labels, or examples of one."""
    counts = Counter(str(example.target) for example in examples)
    if not 2 <= len(counts) <= MAX_LABELS:
        found = "; ".join([f"found {shown_counts(counts)}" if counts else "found none", *read.remarks])
        raise TargetsRefused(f"must hold 2 to {MAX_LABELS} {labels_are}; {found}")
    if read.split_source is not SplitSource.ASSIGNED:
        trained = {str(example.target) for example in examples if example.split in {None, Split.TRAIN}}
        if untrained := {label: n for label, n in counts.items() if label not in trained}:
            raise TargetsRefused(f"has no {noun} to train on of {shown_counts(untrained)}")
        return
    fixed = {str(example.target) for example in examples if example.split is not None}
    if small := {label: n for label, n in counts.items() if n < MIN_ROWS_PER_LABEL and label not in fixed}:
        raise TargetsRefused(
            f"needs at least {MIN_ROWS_PER_LABEL} different {noun}s of each label; too few of {shown_counts(small)}"
        )


def assign(examples: Sequence[Example], groups: Sequence[int], split: SplitSpec, read: ReadExamples) -> list[Split]:
    """Assign the examples, sorted by label, label by label; a group may have several labels."""
    if any(example.group for example in examples):
        return assign_stratified(
            [example.sha256 for example in examples],
            [(str(example.target),) for example in examples],
            split,
            groups=groups,
            fixed=[example.split for example in examples],
            held_out=read.held_out,
        )
    assigned: list[Split] = []
    for _, members in groupby(examples, key=lambda example: example.target):
        label = list(members)
        assigned += assign_splits(
            [example.sha256 for example in label],
            split,
            groups=groups[len(assigned) : len(assigned) + len(label)],
            fixed=[example.split for example in label],
            held_out=read.held_out,
        )
    return assigned


def check_splits(task: Task, rows: Sequence[DatasetRow]) -> None:
    """Do nothing: `check` saw to it that each label has rows to train on."""


def array(task: Task, rows: Sequence[DatasetRow]) -> NDArray[Any]:  # noqa: ARG001  rows hold indices
    """Return int64 [n], the index of each row's label."""
    return np.array([row.target for row in rows], np.int64)


def statistics(task: Task, rows: Sequence[DatasetRow]) -> Mapping[str, Any]:
    """Return the number of rows of each label, by split."""
    return {"labels": label_counts(task.names, ((row.target, row.split) for row in rows))}


def rows_per_output(statistics: Mapping[str, Any]) -> float:
    """Return the mean over labels of their rows to train on."""
    counts = [each["num_train"] for each in statistics["labels"]]
    return float(sum(counts) / max(len(counts), 1))
