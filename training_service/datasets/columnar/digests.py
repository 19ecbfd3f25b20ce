"""SHA-256 digests as an array of bytes, read as hexadecimal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

_BYTES = 32
_AT_ONCE = 4096


class Digests(Sequence[str]):
    """Digests in hexadecimal, one for each row of `values`, uint8 [n, 32]."""

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self.values = values.reshape(-1, _BYTES)

    @classmethod
    def of(cls, digests: Iterable[str]) -> Self:
        """Return these digests as an array."""
        values, rest = bytearray(), iter(digests)
        while some := "".join(islice(rest, _AT_ONCE)):
            values += bytes.fromhex(some)
        return cls(np.frombuffer(values, np.uint8))

    @property
    def words(self) -> NDArray[np.uint64]:
        """The digests as big-endian numbers, [n, 4]: in lexical order they have the order of the digests."""
        return self.values.view(">u8")

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Digests: ...
    def __getitem__(self, place: int | slice) -> str | Digests:
        if isinstance(place, slice):
            return Digests(self.values[place])
        return bytes(self.values[place]).hex()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            text = self.values[start : start + _AT_ONCE].tobytes().hex()
            yield from (text[place : place + 2 * _BYTES] for place in range(0, len(text), 2 * _BYTES))
