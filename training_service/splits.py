"""How rows are dealt into train, validation and test: by label, by a seed, and alike on every machine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
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


@dataclass(frozen=True)
class SplitSpec:
    """Shares of each label's rows, and the seed of the deal; what the shares leave is for training."""

    validation_fraction: float = 0.15
    test_fraction: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            _check(0 < getattr(self, name) < 1, name, "must be above 0 and below 1")
        total = self.validation_fraction + self.test_fraction
        _check(total < 1, "test_fraction", "must leave a share for training: validation and test together stay below 1")

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


def deal(digests: Sequence[str], spec: SplitSpec) -> list[Split]:
    """Deal one label's rows, each named by the distinct digest of its bytes; return a split for each, in their order.

    The deal depends on digests and seed alone, not on order or on any library's random numbers. Each split gets at
    least one row; raise ValueError for fewer than three rows.
    """
    num_rows = len(digests)
    if num_rows < MIN_ROWS_PER_LABEL:
        raise ValueError(f"{num_rows} rows cannot be dealt into three splits")
    num_test = _share(spec.test_fraction, num_rows, num_rows - 2)
    num_validation = _share(spec.validation_fraction, num_rows, num_rows - num_test - 1)
    order = sorted(range(num_rows), key=lambda row: _rank(spec.seed, digests[row]))
    splits = [Split.TRAIN] * num_rows
    for position, row in enumerate(order[: num_test + num_validation]):
        splits[row] = Split.TEST if position < num_test else Split.VALIDATION
    return splits


def _share(fraction: float, num_rows: int, most: int) -> int:
    return min(max(1, math.floor(fraction * num_rows + 0.5)), most)


def _rank(seed: int, digest: str) -> bytes:
    return hashlib.sha256(f"{seed}:{digest}".encode()).digest()


def _check(holds: bool, field: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidInput.of(f"split.{field}", rule)
