"""Caches answers: equal rows for the same version are not run again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from cachetools import LRUCache

from inference_service.execution.work import Answer, Output
from inference_service.models.resident import ResidentVersion
from inference_service.pipeline.examples import Examples
from model_store.modalities import Rows

_ENTRY_BYTES = 500  # approximate size of an entry without its numbers


class ResponseCache:
    """Holds the answers used last, in about `max_bytes`; use it on the event loop only.

    A version never changes and a number is never given twice, so an answer stays right for as long as it is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._answers: LRUCache[bytes, Answer] = LRUCache(max_bytes, getsizeof=_num_bytes)

    def find(self, key: bytes) -> Answer | None:
        """Return the answer to a request, if it is remembered."""
        return self._answers.get(key)

    def add(self, key: bytes, answer: Answer) -> None:
        """Remember an answer that fits, and forget those that were not used for the longest time."""
        if _num_bytes(answer) <= self._answers.maxsize:
            # Copied: an answer is a view of its whole batch, which would stay in memory with it.
            self._answers[key] = {output: values.copy() for output, values in answer.items()}


def cache_key(version: ResidentVersion, given: Examples | Rows, outputs: frozenset[Output]) -> bytes:
    """Return a key that is equal for two requests exactly if they must have the same answer."""
    names = sorted(output.name for output in outputs)
    digest = hashlib.blake2b(f"{version.name} {version.precision} {names} {type(given).__name__}".encode())
    for part in given.examples if isinstance(given, Examples) else _named(given):
        _add(digest, part)
    return digest.digest()


def _add(digest: hashlib.blake2b, part: object) -> None:
    """Take the bytes of an example, or of a part of one, with its type and size: no two examples give the same."""
    if isinstance(part, str):
        digest.update(f"text {len(part)}\0{part}".encode())
    elif isinstance(part, bytes):
        digest.update(b"encoded %d\0" % len(part))
        digest.update(part)
    elif isinstance(part, np.ndarray):
        digest.update(f"{part.dtype} {part.shape}\0".encode())
        digest.update(np.ascontiguousarray(part).data)
    elif isinstance(part, int):
        digest.update(f"number {part}\0".encode())
    elif isinstance(part, tuple):
        digest.update(f"parts {len(part)}\0".encode())
        for each in part:
            _add(digest, each)
    else:
        raise TypeError(f"an example of {type(part).__name__} has no bytes to be known by")


def _named(rows: Rows) -> Iterator[object]:
    for name, array in sorted(rows.arrays.items()):
        yield name
        yield array


def _num_bytes(answer: Answer) -> int:
    return _ENTRY_BYTES + sum(values.nbytes for values in answer.values())
