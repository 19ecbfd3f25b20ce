"""The result of a modality's reader: examples with their targets, and the files that were left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from training_service.datasets.columns import Column
from training_service.datasets.splits import HELD_OUT, Split, SplitSource

NamedTarget: TypeAlias = str | tuple[str, ...] | tuple[float, ...]
"""A target as people write it: a label, the labels of an example in their order, or a number for each target."""


NO_FACTS: Mapping[str, Any] = {}
"""The facts of each example of a modality that keeps none: a mapping for each row would add up."""


@dataclass(frozen=True)
class RejectedFile:
    """A file that is not part of the dataset, and why."""

    path: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Example:
    """One example that may become a row.

    It came from the file at `path`, or from the row `number` of a file, counted from 1. Its bytes lie in the spool at
    `offset`, or, for a row of the parent, in the blob `pack`. Examples of one `group` go to one split. `facts` are data
    of the modality that are kept with the row.
    """

    path: str
    number: int
    target: NamedTarget
    split: Split | None
    offset: int
    size: int
    sha256: str
    facts: Mapping[str, Any]
    pack: str = ""
    group: str = ""

    @property
    def source(self) -> str:
        """Where it came from, as a message names it."""
        return self.path or f"row {self.number}"


@dataclass(frozen=True)
class ReadExamples:
    """All examples of an upload, of one task.

    `names` are the labels or targets in the upload's order; empty if only the examples' labels are known. Rows without
    a fixed split are assigned to the splits in `held_out` and to training. `around` is the path of the folders around
    everything. `observed` is data of the modality for its summary.
    """

    examples: Sequence[Example]
    task: str
    names: tuple[str, ...]
    split_source: SplitSource
    held_out: Collection[Split] = HELD_OUT
    columns: tuple[Column, ...] = ()
    around: str = ""
    remarks: tuple[str, ...] = ()
    observed: Any = None
