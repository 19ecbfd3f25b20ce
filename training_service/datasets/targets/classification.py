"""Targets of classification: the index of a row's one label, among all labels in alphabetical order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model_store.tasks import Classification, Task
from training_service.datasets.examples import Examples, NamedTarget, ReadExamples
from training_service.datasets.groups import Groups
from training_service.datasets.manifest import RowColumns, Target
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


def check(examples: Examples, read: ReadExamples, noun: str, labels_are: str) -> None:
    """Raise TargetsRefused for too few labels, or examples of one."""
    counts = Counter(map(str, examples.targets))
    if not 2 <= len(counts) <= MAX_LABELS:
        found = "; ".join([f"found {shown_counts(counts)}" if counts else "found none", *read.remarks])
        raise TargetsRefused(f"must hold 2 to {MAX_LABELS} {labels_are}; {found}")
    splits = zip(examples.targets, examples.splits, strict=True)
    if read.split_source is not SplitSource.ASSIGNED:
        trained = {str(each) for each, split in splits if split in {None, Split.TRAIN}}
        if untrained := {label: n for label, n in counts.items() if label not in trained}:
            raise TargetsRefused(f"has no {noun} to train on of {shown_counts(untrained)}")
        return
    fixed = {str(each) for each, split in splits if split is not None}
    if small := {label: n for label, n in counts.items() if n < MIN_ROWS_PER_LABEL and label not in fixed}:
        raise TargetsRefused(
            f"needs at least {MIN_ROWS_PER_LABEL} different {noun}s of each label; too few of {shown_counts(small)}"
        )


def assign(examples: Examples, groups: Groups, split: SplitSpec, read: ReadExamples) -> list[Split]:
    """Assign the examples, sorted by label, label by label; a group may have several labels."""
    if examples.groups is not None:
        return assign_stratified(
            examples.sha256,
            [(str(target),) for target in examples.targets],
            split,
            groups=groups,
            fixed=examples.splits,
            held_out=read.held_out,
        )
    assigned: list[Split] = []
    fixed = examples.splits
    for _, members in groupby(examples.targets):
        of_label = slice(len(assigned), len(assigned) + sum(1 for _ in members))
        assigned += assign_splits(
            examples.sha256[of_label], split, groups=groups[of_label], fixed=fixed[of_label], held_out=read.held_out
        )
    return assigned


def check_splits(task: Task, rows: RowColumns) -> None:
    """Do nothing: `check` saw to it that each label has rows to train on."""


def array(task: Task, rows: RowColumns) -> NDArray[Any]:  # noqa: ARG001  rows hold indices
    """Return int64 [n], the index of each row's label."""
    return rows.targets.values.astype(np.int64)


def statistics(task: Task, rows: RowColumns) -> Mapping[str, Any]:
    """Return the number of rows of each label, by split."""
    return {"labels": label_counts(task.names, rows)}


def rows_per_output(statistics: Mapping[str, Any]) -> float:
    """Return the mean over labels of their rows to train on."""
    counts = [each["num_train"] for each in statistics["labels"]]
    return float(sum(counts) / max(len(counts), 1))
