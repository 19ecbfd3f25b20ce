"""Numbers for rows that belong together: near duplicates, and groups of the user's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training_service.datasets.columnar.digests import Digests

Groups = NDArray[np.int64]
"""A number for each row, equal for rows that belong together: the position of one of them."""


def of_equal(digests: Sequence[str]) -> Groups:
    """Group rows of equal digests, SHA-256 in hexadecimal."""
    words = (digests if isinstance(digests, Digests) else Digests.of(digests)).words
    groups = np.arange(len(words))
    order = np.argsort(words[:, 0], kind="stable")
    is_same = words[order[1:], 0] == words[order[:-1], 0]
    alike = np.sort(order[np.flatnonzero(np.append(is_same, False) | np.insert(is_same, 0, False))])
    if len(alike):  # few: they are compared as a whole
        _, first, number = np.unique(words[alike], axis=0, return_index=True, return_inverse=True)
        groups[alike] = alike[first[number.reshape(-1)]]
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
