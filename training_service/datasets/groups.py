"""Numbers for rows that belong together: near duplicates, and groups of the user's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.int64]
"""A number for each row, equal for rows that belong together: the position of one of them."""


def of_equal(digests: Sequence[str]) -> Groups:
    """Group rows of equal digests, SHA-256 in hexadecimal."""
    numbers = np.frombuffer(bytes.fromhex("".join(digests)), np.uint64).reshape(-1, 4)
    order = np.lexsort(numbers.T)  # equal rows side by side, in their order
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (numbers[order[1:]] != numbers[order[:-1]]).any(axis=1)
    groups = np.empty(len(order), np.int64)
    groups[order] = order[is_first][np.cumsum(is_first) - 1]
    return groups


def joined(groups: Groups, first: Groups, second: Groups) -> Groups:
    """Join the groups of the rows in each pair of positions, under the smallest of their numbers."""
    while True:
        roots = groups[first], groups[second]
        if np.array_equal(*roots):
            return groups
        smallest = np.minimum(*roots)
        parents = np.arange(len(groups))
        for each in roots:
            np.minimum.at(parents, each, smallest)
        groups = np.asarray(parents[groups])
