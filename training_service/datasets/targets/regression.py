"""Targets of regression: a number for each of the task's targets, in their own units."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model_store.tasks import Regression, Task
from training_service.datasets.examples import Examples, NamedTarget, ReadExamples
from training_service.datasets.groups import Groups
from training_service.datasets.manifest import RowColumns, Target
from training_service.datasets.splits import MIN_ROWS_PER_LABEL, Split, SplitSpec
from training_service.datasets.stratified import assign_stratified
from training_service.datasets.targets.protocol import TargetsRefused

MAX_TARGETS = 1000
_MAX_BINS = 10
_ROWS_PER_BIN = 10  # of fewer, a bin has not its share in each split


def make_task(names: Sequence[str], targets: Sequence[NamedTarget]) -> Task:  # noqa: ARG001  the upload names them
    """Return the task with the upload's targets."""
    return Regression(tuple(names))


def indexed(places: Mapping[str, int], target: NamedTarget) -> Target:  # noqa: ARG001  numbers stay what they are
    """Return the numbers."""
    return _numbers(target)


def named(task: Task, target: Target) -> NamedTarget:  # noqa: ARG001  as above
    """Return the numbers."""
    return _numbers(target)


def near_key(target: NamedTarget) -> str:  # noqa: ARG001  whatever the targets are
    """Return an empty key: near duplicates may have different targets, and are still kept in one split."""
    return ""


def conflict(targets: Sequence[NamedTarget]) -> str:
    """Name the targets."""
    shown = sorted(" and ".join(f"{number:g}" for number in _numbers(target)) for target in targets)
    return f"has different targets: {', '.join(shown)}"


def check(examples: Examples, read: ReadExamples, noun: str, labels_are: str) -> None:  # noqa: ARG001  no labels
    """Raise TargetsRefused for too many targets, or too few examples."""
    if not 1 <= len(read.names) <= MAX_TARGETS:
        raise TargetsRefused(f"must have 1 to {MAX_TARGETS} targets; found {len(read.names)}")
    if len(examples) < MIN_ROWS_PER_LABEL:
        raise TargetsRefused(f"needs at least {MIN_ROWS_PER_LABEL} different {noun}s; found {len(examples)}")


def assign(examples: Examples, groups: Groups, split: SplitSpec, read: ReadExamples) -> list[Split]:
    """Assign so that each tenth of each target's range of ranks has its share in each split."""
    columns = zip(*map(_numbers, examples.targets), strict=True)
    bins = [_bins(column) for column in columns]
    return assign_stratified(
        examples.sha256,
        [tuple((column, each) for column, each in enumerate(row)) for row in zip(*bins, strict=True)],
        split,
        groups=groups,
        fixed=examples.splits,
        held_out=read.held_out,
    )


def check_splits(task: Task, rows: RowColumns) -> None:
    """Raise TargetsRefused where a target is the same in all rows to train on, as float32 has it."""
    trained = array(task, rows)[rows.positions(Split.TRAIN)]
    if same := [name for name, is_same in zip(task.names, (trained == trained[0]).all(axis=0), strict=True) if is_same]:
        rule = "has the same number, to seven digits, in every row to train on for"
        raise TargetsRefused(f"{rule} {', '.join(map(repr, same[:20]))}")


def array(task: Task, rows: RowColumns) -> NDArray[Any]:
    """Return float32 [n, targets]."""
    return rows.targets.values.astype(np.float32).reshape(len(rows), len(task.names))


def statistics(task: Task, rows: RowColumns) -> Mapping[str, Any]:
    """Return how each target is spread over all rows."""
    columns: list[list[float]] = rows.targets.values.astype(np.float64).reshape(len(rows), len(task.names)).T.tolist()
    return {
        "targets": [{"target": name, **_spread(column)} for name, column in zip(task.names, columns, strict=True)],
        "num_train": len(rows.positions(Split.TRAIN)),
    }


def rows_per_output(statistics: Mapping[str, Any]) -> float:
    """Return the number of rows to train on: each says something of every target."""
    return float(statistics["num_train"])


def _numbers(target: NamedTarget | Target) -> tuple[float, ...]:
    return cast("tuple[float, ...]", target)


def _bins(numbers: Sequence[float]) -> list[int]:
    """Return the bin of each number: bins have about equally many numbers, and equal numbers share a bin."""
    ordered = sorted(numbers)
    num_bins = max(1, min(_MAX_BINS, len(ordered) // _ROWS_PER_BIN))
    edges = [ordered[len(ordered) * number // num_bins] for number in range(1, num_bins)]
    return [bisect_left(edges, number) for number in numbers]


def _spread(numbers: Sequence[float]) -> dict[str, float]:
    """Return minimum, mean, standard deviation and maximum, added up so that no order shows."""
    mean = math.fsum(numbers) / len(numbers)
    variance = math.fsum((number - mean) ** 2 for number in numbers) / len(numbers)
    return {"min": min(numbers), "mean": mean, "std": math.sqrt(variance), "max": max(numbers)}
