"""What a check of the store finds: problems, each with who suffers from it and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What can be wrong."""

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
    """What was done about a problem, and whether that was enough."""

    is_done: bool
    text: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a resource, or with a blob; `needed_by` names the versions and datasets it hurts."""

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
    """All that a check looked at and found; `is_deep` where it read every stored byte.

    Orphans are blobs that no row names: what a collector removes once they are old enough.
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
