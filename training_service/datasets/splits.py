"""Assigns rows to train, validation and test: by label, by a seed, and alike on every machine."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from model_store.errors import InvalidInput

MIN_ROWS_PER_LABEL = 3


class Split(StrEnum):
    """The use of a row."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


ALL = "all"
"""Stands for the rows of every split, where a split is asked for."""


class SplitSource(StrEnum):
    """Where the splits of rows come from."""

    ASSIGNED = "assigned"
    """The service assigned them all."""
    FOLDERS = "folders"
    FILE = "file"
    COLUMN = "column"


HELD_OUT = (Split.TEST, Split.VALIDATION)
"""The splits that are not trained on, in the order in which rows are assigned to them."""


@dataclass(frozen=True)
class SplitSpec:
    """Shares of each label's rows, and the seed of the assignment; the remaining rows are for training."""

    validation_fraction: float = 0.15
    test_fraction: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            _check(0 < getattr(self, name) < 1, name, "must be above 0 and below 1")
        _check(self.seed >= 0, "seed", "must be at least 0")
        total = self.validation_fraction + self.test_fraction
        _check(total < 1, "test_fraction", "must leave a share for training: validation and test together stay below 1")

    def fraction(self, split: Split) -> float:
        """Return the share of a split that is held out."""
        return self.test_fraction if split is Split.TEST else self.validation_fraction

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "validation_fraction": self.validation_fraction,
            "test_fraction": self.test_fraction,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read the form that `to_json` writes."""
        return cls(**values)


def assign_splits(
    digests: Sequence[str],
    spec: SplitSpec,
    *,
    groups: Sequence[int] | None = None,
    fixed: Sequence[Split | None] | None = None,
    held_out: Collection[Split] = HELD_OUT,
) -> list[Split]:
    """Assign one label's rows, each named by the digest of its bytes; return a split for each, in their order.

    Rows of one group stay together: they take the split of a `fixed` one of them, where rows may be assigned to that
    split, or are assigned as one unit. Only splits in `held_out` and training get rows, and each at least one where
    enough rows are left: so a label with fewer groups than splits is assigned row by row. The result depends on nothing
    but the arguments, and on no order of distinct digests nor on any library's random numbers. Raises ValueError for
    fewer than three rows, none of them fixed.
    """
    splits = list(fixed or [None] * len(digests))
    if len(digests) < MIN_ROWS_PER_LABEL and not any(splits):
        raise ValueError(f"{len(digests)} rows cannot be assigned to three splits")
    groups = range(len(digests)) if groups is None else groups
    follow_groups(splits, groups, held_out)
    needed = needed_rows(splits, spec, held_out)
    units = units_in_order(splits, digests, spec, groups)
    if len(units) < len(_without_rows(splits, needed)):
        units = [[row] for unit in units for row in unit]
    _assign(units, needed, splits)
    return [split or Split.TRAIN for split in splits]


def follow_groups(splits: list[Split | None], groups: Sequence[int], held_out: Collection[Split]) -> None:
    """Let rows join the fixed rows of their groups: in training if the group has training rows, which were learned."""
    followed: dict[int, Split] = {}
    for split in Split:
        if split in held_out or split is Split.TRAIN:
            for group, each in zip(groups, splits, strict=True):
                if each is split:
                    followed.setdefault(group, split)
    for row, group in enumerate(groups):
        splits[row] = splits[row] or followed.get(group)


def needed_rows(splits: Sequence[Split | None], spec: SplitSpec, held_out: Collection[Split]) -> dict[Split, int]:
    """Return the number of unassigned rows that each held-out split should get; at least one row is for training."""
    counts = Counter(splits)
    left = counts[None] - (counts[Split.TRAIN] == 0)
    needed = {}
    missing = [split for split in HELD_OUT if split in held_out]
    for number, split in enumerate(missing, start=1):
        for_later = sum(counts[each] == 0 for each in missing[number:])
        share = max(1, math.floor(spec.fraction(split) * len(splits) + 0.5)) - counts[split]
        needed[split] = max(0, min(share, left - for_later))
        left -= needed[split]
    return needed


def units_in_order(
    splits: Sequence[Split | None], digests: Sequence[str], spec: SplitSpec, groups: Sequence[int]
) -> list[list[int]]:
    """Return the unassigned rows in the order of the seed, the rows of a group as one unit."""
    order = sorted((row for row, split in enumerate(splits) if split is None), key=lambda row: rank(spec, digests[row]))
    units: dict[int, list[int]] = {}
    for row in order:
        units.setdefault(groups[row], []).append(row)
    return list(units.values())


def _without_rows(splits: Collection[Split | None], needed: Mapping[Split, int]) -> list[Split]:
    """Return the splits that want at least one row and have none, training last."""
    return [split for split in (*needed, Split.TRAIN) if split not in splits and needed.get(split, 1)]


def _assign(units: Sequence[Sequence[int]], needed: Mapping[Split, int], splits: list[Split | None]) -> None:
    """Give each split the units that it has room for, in their order, or the smallest; leave enough for the others."""
    for split, num_rows in needed.items():
        wanting = _without_rows(splits, needed)
        most = len(units) - len(wanting) + (split in wanting)
        taken = _fitting(units, num_rows, most)
        if not taken and split in wanting:
            taken = {min(range(len(units)), key=lambda unit: len(units[unit]))}
        for row in (row for unit in taken for row in units[unit]):
            splits[row] = split
        units = [unit for number, unit in enumerate(units) if number not in taken]


def _fitting(units: Sequence[Sequence[int]], num_rows: int, most: int) -> set[int]:
    taken: set[int] = set()
    for number, unit in enumerate(units):
        if len(unit) <= num_rows and len(taken) < most:
            taken.add(number)
            num_rows -= len(unit)
    return taken


def rank(spec: SplitSpec, digest: str) -> bytes:
    """Return a row's place in the order of the seed."""
    return hashlib.sha256(f"{spec.seed}:{digest}".encode()).digest()


def _check(holds: bool, field: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidInput.of(f"split.{field}", rule)
