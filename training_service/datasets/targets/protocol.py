"""The protocol of a task for the targets of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from model_store.errors import StoreError
from model_store.tasks import Task
from training_service.datasets.examples import Examples, NamedTarget, ReadExamples
from training_service.datasets.groups import Groups
from training_service.datasets.manifest import RowColumns, Target
from training_service.datasets.splits import Split, SplitSpec


class TargetsRefused(StoreError):
    """The targets of an upload do not make a dataset; the text says why, as the rest of a sentence about the upload."""


class Targets(Protocol):
    """The targets of one task; a module of functions."""

    def make_task(self, names: Sequence[str], targets: Sequence[NamedTarget]) -> Task:
        """Return the task of examples with these targets; `names` are those that the upload gave, if it did."""
        ...

    def indexed(self, places: Mapping[str, int], target: NamedTarget) -> Target:
        """Return a target as a manifest holds it; `places` are the indices of the task's names."""
        ...

    def named(self, task: Task, target: Target) -> NamedTarget:
        """Return a manifest's target as people write it."""
        ...

    def near_key(self, target: NamedTarget) -> str:
        """Return the comparison key of near duplicates: only examples with equal keys are compared."""
        ...

    def conflict(self, targets: Sequence[NamedTarget]) -> str:
        """Say that examples with the same bytes have different targets."""
        ...

    def check(self, examples: Examples, read: ReadExamples, noun: str, labels_are: str) -> None:
        """Raise TargetsRefused where the examples do not suffice."""
        ...

    def assign(self, examples: Examples, groups: Groups, split: SplitSpec, read: ReadExamples) -> list[Split]:
        """Return a split for each example; examples of a group stay together if possible."""
        ...

    def check_splits(self, task: Task, rows: RowColumns) -> None:
        """Raise TargetsRefused where the rows to train on say too little of a target."""
        ...

    def array(self, task: Task, rows: RowColumns) -> NDArray[Any]:
        """Return the targets of rows as training takes them."""
        ...

    def statistics(self, task: Task, rows: RowColumns) -> Mapping[str, Any]:
        """Return the summary of the targets for listings, as plain JSON values."""
        ...

    def rows_per_output(self, statistics: Mapping[str, Any]) -> float:
        """Return the number of training rows of each output, by `statistics`."""
        ...
