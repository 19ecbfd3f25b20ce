"""The findings of a check of the store: problems, each with the resources that it affects and advice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of problem."""

    MISSING_BLOB = "missing_blob"
    CORRUPT_BLOB = "corrupt_blob"
    WRONG_SIZE = "wrong_size"
    WRONG_MANIFEST = "wrong_manifest"
    WRONG_COUNTER = "wrong_counter"
    DANGLING_ALIAS = "dangling_alias"
    WRONG_HISTORY = "wrong_history"
    MISSING_BASE = "missing_base"
    MISSING_DATASET = "missing_dataset"


@dataclass(frozen=True)
class Repair:
    """The action of a repair on a problem, and whether it solved the problem."""

    is_done: bool
    text: str


@dataclass(frozen=True)
class Problem:
    """One problem of a resource or a blob; `needed_by` names the versions and datasets that it affects."""

    kind: Kind
    resource: str
    text: str
    advice: str
    needed_by: tuple[str, ...] = ()
    digest: str = ""
    repair: Repair | None = None

    @property
    def is_solved(self) -> bool:
        """Say whether it was repaired."""
        return self.repair is not None and self.repair.is_done


@dataclass(frozen=True)
class Report:
    """The result of a check; `is_deep` if it read every stored byte.

    Orphans are blobs that no row names; a collector removes them after the grace period.
    """

    problems: tuple[Problem, ...]
    is_deep: bool
    num_versions: int
    num_datasets: int
    num_blobs: int
    size_bytes: int
    num_orphans: int

    @property
    def is_clean(self) -> bool:
        """Say whether nothing is wrong any more."""
        return all(problem.is_solved for problem in self.problems)
