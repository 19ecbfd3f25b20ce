"""How rows are dealt into train, validation and test: by label, by a seed, and alike on every machine."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from model_store.errors import InvalidInput

MIN_ROWS_PER_LABEL = 3


class Split(StrEnum):
    """What a row is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


HELD_OUT = (Split.TEST, Split.VALIDATION)
"""What is not trained on, in the order in which it is dealt."""


@dataclass(frozen=True)
class SplitSpec:
    """Shares of each label's rows, and the seed of the deal; what the shares leave is for training."""

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
        """Read what `to_json` wrote."""
        return cls(**values)


def assign_splits(
    digests: Sequence[str],
    spec: SplitSpec,
    *,
    groups: Sequence[int] | None = None,
    fixed: Sequence[Split | None] | None = None,
    held_out: Collection[Split] = HELD_OUT,
) -> list[Split]:
    """Deal one label's rows, each named by the distinct digest of its bytes; return a split for each, in their order.

    Rows of one group stay together: they take the split of one of them that is `fixed`, and it can be dealt, or are
    dealt as one. Only splits among `held_out` get rows, and each at least one where enough are left to deal: so a label
    with fewer groups than splits is dealt row by row. The deal depends on nothing but the arguments, and on no order
    nor on any library's random numbers. Raises ValueError for fewer than three rows, none of them fixed.
    """
    splits = list(fixed or [None] * len(digests))
    if len(digests) < MIN_ROWS_PER_LABEL and not any(splits):
        raise ValueError(f"{len(digests)} rows cannot be dealt into three splits")
    groups = range(len(digests)) if groups is None else groups
    _follow(splits, groups, held_out)
    needed = _needed(splits, spec, held_out)
    order = sorted(
        (row for row, split in enumerate(splits) if split is None), key=lambda row: _rank(spec, digests[row])
    )
    hands = _hands(order, groups)
    if len(hands) < len(_without_rows(splits, needed)):
        hands = [[row] for row in order]
    _deal(hands, needed, splits)
    return [split or Split.TRAIN for split in splits]


def _follow(splits: list[Split | None], groups: Sequence[int], held_out: Collection[Split]) -> None:
    """Let rows join the fixed ones of their groups: in training where there are any, as these have been learnt from."""
    followed: dict[int, Split] = {}
    for split in Split:
        if split in held_out or split is Split.TRAIN:
            for group, each in zip(groups, splits, strict=True):
                if each is split:
                    followed.setdefault(group, split)
    for row, group in enumerate(groups):
        splits[row] = splits[row] or followed.get(group)


def _needed(splits: Sequence[Split | None], spec: SplitSpec, held_out: Collection[Split]) -> dict[Split, int]:
    """Return how many of the rows that are left to deal each held-out split should get; one row trains at least."""
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


def _hands(order: Iterable[int], groups: Sequence[int]) -> list[list[int]]:
    """Put rows of one group together, at the place of the first."""
    hands: dict[int, list[int]] = {}
    for row in order:
        hands.setdefault(groups[row], []).append(row)
    return list(hands.values())


def _without_rows(splits: Collection[Split | None], needed: Mapping[Split, int]) -> list[Split]:
    """Return the splits that want at least one row and have none, training last."""
    return [split for split in (*needed, Split.TRAIN) if split not in splits and needed.get(split, 1)]


def _deal(hands: Sequence[Sequence[int]], needed: Mapping[Split, int], splits: list[Split | None]) -> None:
    """Give each split the hands that it has room for, in their order, or the smallest; leave enough for the others."""
    for split, num_rows in needed.items():
        wanting = _without_rows(splits, needed)
        most = len(hands) - len(wanting) + (split in wanting)
        taken = _fitting(hands, num_rows, most)
        if not taken and split in wanting:
            taken = {min(range(len(hands)), key=lambda hand: len(hands[hand]))}
        for row in (row for hand in taken for row in hands[hand]):
            splits[row] = split
        hands = [hand for number, hand in enumerate(hands) if number not in taken]


def _fitting(hands: Sequence[Sequence[int]], num_rows: int, most: int) -> set[int]:
    taken: set[int] = set()
    for number, hand in enumerate(hands):
        if len(hand) <= num_rows and len(taken) < most:
            taken.add(number)
            num_rows -= len(hand)
    return taken


def _rank(spec: SplitSpec, digest: str) -> bytes:
    return hashlib.sha256(f"{spec.seed}:{digest}".encode()).digest()


def _check(holds: bool, field: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidInput.of(f"split.{field}", rule)
