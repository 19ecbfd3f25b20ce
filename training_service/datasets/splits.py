"""Assigns rows to train, validation and test: by label, by a seed, and alike on every machine."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import compress
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidInput

MIN_ROWS_PER_LABEL = 3
_RANK_BYTES = 16


class Split(StrEnum):
    """The use of a row."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SPLITS = tuple(Split)
"""All splits; where splits are kept as numbers, those are places here."""
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


@dataclass(frozen=True)
class Units(Sequence[list[int]]):
    """Rows that go to one split together: those of all units one behind the other, and where each unit starts."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The number of rows of each unit."""
        return np.diff(self.starts)

    def apart(self) -> Units:
        """Return units of one row each."""
        return Units(self.rows, np.arange(len(self.rows) + 1))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, place: int) -> list[int]: ...
    @overload
    def __getitem__(self, place: slice) -> list[list[int]]: ...
    def __getitem__(self, place: int | slice) -> list[int] | list[list[int]]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        found: list[int] = self.rows[self.starts[place] : self.starts[place + 1]].tolist()
        return found


def assign_splits(
    digests: Sequence[str],
    spec: SplitSpec,
    *,
    groups: Sequence[int] | NDArray[np.int64] | None = None,
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
        units = units.apart()
    _assign(units, needed, splits)
    return [split or Split.TRAIN for split in splits]


def follow_groups(
    splits: list[Split | None], groups: Sequence[int] | NDArray[np.int64], held_out: Collection[Split]
) -> None:
    """Let rows join the fixed rows of their groups: in training if the group has training rows, which were learned."""
    if not any(splits):
        return
    groups = np.asarray(groups).tolist()
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
    splits: Sequence[Split | None], digests: Sequence[str], spec: SplitSpec, groups: Sequence[int] | NDArray[np.int64]
) -> Units:
    """Return the unassigned rows in the order of the seed, the rows of a group as one unit."""
    unassigned = np.array([split is None for split in splits], np.bool_)
    rows = np.flatnonzero(unassigned)
    rows = rows[_order(_ranks(spec, compress(digests, unassigned)))]
    own = np.asarray(groups, np.int64)[rows]
    if len(np.unique(own)) == len(own):
        return Units(rows, np.arange(len(rows) + 1))
    _, first, group = np.unique(own, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[group]  # of each row's unit: that of its first row
    sizes = np.bincount(place)
    return Units(rows[np.argsort(place, kind="stable")], np.concatenate([[0], np.cumsum(sizes)]))


def _without_rows(splits: Collection[Split | None], needed: Mapping[Split, int]) -> list[Split]:
    """Return the splits that want at least one row and have none, training last."""
    return [split for split in (*needed, Split.TRAIN) if split not in splits and needed.get(split, 1)]


def _assign(units: Units, needed: Mapping[Split, int], splits: list[Split | None]) -> None:
    """Give each split the units that it has room for, in their order, or the smallest; leave enough for the others."""
    left = np.arange(len(units))
    for split, num_rows in needed.items():
        wanting = _without_rows(splits, needed)
        sizes = units.sizes[left]
        taken = _fitting(sizes, num_rows, len(left) - len(wanting) + (split in wanting))
        if not taken and split in wanting:
            taken = [int(sizes.argmin())]
        for unit in left[taken]:
            for row in units[unit]:
                splits[row] = split
        left = np.delete(left, taken)


def _fitting(sizes: Iterable[int], num_rows: int, most: int) -> list[int]:
    taken: list[int] = []
    for number, size in enumerate(sizes):
        if not num_rows or len(taken) >= most:
            break
        if size <= num_rows:
            taken.append(number)
            num_rows -= size
    return taken


def _order(ranks: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the order of ranks [n, 2]; the second numbers are looked at where the first are equal, which is rare."""
    order = np.argsort(ranks[:, 0], kind="stable")
    first = ranks[order, 0]
    return order if (first[1:] != first[:-1]).all() else np.lexsort(ranks.T[::-1])


def _ranks(spec: SplitSpec, digests: Iterable[str]) -> NDArray[np.uint64]:
    """Return each row's place in the order of the seed: the first half of a digest of its own, big endian [n, 2]."""
    ranks = bytearray()
    for digest in digests:
        ranks += hashlib.sha256(f"{spec.seed}:{digest}".encode()).digest()[:_RANK_BYTES]
    return np.frombuffer(ranks, ">u8").reshape(-1, 2)


def _check(holds: bool, field: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidInput.of(f"split.{field}", rule)
