"""Near duplicates among texts: those that share most of their pairs of words, found by MinHash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training_service.datasets.groups import Groups, joined

_NUM_HASHES = 16
_BAND = 4
# Of texts that share 0.9 of their pairs 14.4 of 16 minima are equal in the mean; of those that share half, 8.
_MIN_EQUAL = 13
_WORD = re.compile(r"\w+")
_MAX_WORDS = 5000
_PRIME = np.uint64((1 << 61) - 1)
_RANDOM = np.random.default_rng(20)
_FACTORS = _RANDOM.integers(1, 1 << 28, _NUM_HASHES, np.uint64)
_SHIFTS = _RANDOM.integers(0, 1 << 28, _NUM_HASHES, np.uint64)


def words_hash(text: str) -> str:
    """Return the MinHash of a text's pairs of words, without case and punctuation: 128 hexadecimal digits.

    The share of equal minima of two texts is about that of the pairs that they share (Broder 1997, "On the resemblance
    and containment of documents"). Only the first 5,000 words count.
    """
    words = _WORD.findall(text[: 8 * _MAX_WORDS].casefold())[:_MAX_WORDS] or [text.strip()]
    pairs = {" ".join(pair) for pair in pairwise(words)} or set(words)
    numbers = np.array([_number(pair) for pair in sorted(pairs)], np.uint64)
    minima = ((numbers[:, None] * _FACTORS + _SHIFTS) % _PRIME).min(axis=0)
    return bytes((minima & np.uint64(0xFFFFFFFF)).astype(">u4").tobytes()).hex()


def group_near_duplicates(keys: Sequence[str], hashes: Sequence[str]) -> Groups:
    """Return a number for each text, equal for those of one key that are alike, from their hashes."""
    groups: Groups = np.arange(len(hashes))
    if len(hashes) == 0:
        return groups
    minima = np.frombuffer(bytes.fromhex("".join(hashes)), ">u4").reshape(-1, _NUM_HASHES)
    _, key_numbers = np.unique(np.array(keys, dtype=object).astype(str), return_inverse=True)
    for start in range(0, _NUM_HASHES, _BAND):
        firsts = _first_of_equal(key_numbers, minima[:, start : start + _BAND])
        is_alike = (minima == minima[firsts]).sum(axis=1) >= _MIN_EQUAL
        groups = joined(groups, np.flatnonzero(is_alike), firsts[is_alike])
    return groups


def _first_of_equal(keys: NDArray[np.int64], band: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return for each text the first one of its key with the same minima in a band."""
    rows = np.column_stack([keys.reshape(-1).astype(np.int64), band.astype(np.int64)])
    _, firsts, places = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return np.asarray(firsts[places.reshape(-1)], np.int64)


def _number(pair: str) -> int:
    """Return 32 bits of a pair of words, so that a product with a factor stays within 64."""
    return int.from_bytes(hashlib.blake2b(pair.encode("utf-8", "replace"), digest_size=4).digest(), "big")
