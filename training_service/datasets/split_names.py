"""Names of splits as people write them, and which splits are left to be assigned where some are given."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from training_service.datasets.splits import HELD_OUT, Split

SPLIT_NAMES = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
}
_SET = re.compile(r"[ _-]?(?:set|data|images)")


@lru_cache(maxsize=1024)  # half a million paths have few folders
def split_of(name: str) -> Split | None:
    """Return the split of a name, for example `train`, `Validation` or `test_set`; None for any other name."""
    return SPLIT_NAMES.get(_SET.sub("", name.lower()))


def given_splits(splits: Sequence[Split | None]) -> tuple[list[Split | None], Collection[Split]]:
    """Return the splits that stay as given, and those without rows, which are assigned out of training rows."""
    held_out = frozenset(HELD_OUT) - set(splits)
    return [None if held_out and split is Split.TRAIN else split for split in splits], held_out
