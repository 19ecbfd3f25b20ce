"""Columns of rows that are read more often than made: texts, facts and targets of any task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from model_store.manifests import canonical_json

Target: TypeAlias = int | tuple[int, ...] | tuple[float, ...]
"""A row's target: the index of its label, the indices of its labels, or a number for each of the task's targets."""
Starts: TypeAlias = NDArray[np.int64]
"""Where the part of each row starts in an array of them all, and where the last one ends, [n + 1]."""

NO_FACTS: Mapping[str, Any] = {}
"""The facts of each row of a modality that keeps none: a mapping for each would add up."""


@dataclass(frozen=True, eq=False)
class TextColumn(Sequence[str]):
    """A text for each of `num_rows` rows, in UTF-8 one behind the other; without `starts` each is empty."""

    num_rows: int
    data: NDArray[np.uint8]
    starts: Starts | None

    @classmethod
    def of(cls, texts: Sequence[str] | None, num_rows: int) -> Self:
        """Return the column of these texts, or of empty ones."""
        if texts is None or not any(texts):
            return cls(num_rows, np.empty(0, np.uint8), None)
        data, lengths = bytearray(), []
        for text in texts:
            encoded = text.encode()
            data += encoded
            lengths.append(len(encoded))
        return cls(num_rows, np.frombuffer(data, np.uint8), _starts(lengths))

    def __len__(self) -> int:
        return self.num_rows

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return "" if self.starts is None else _part(self.data, self.starts, place).tobytes().decode()


@dataclass(frozen=True)
class FactColumn(Sequence[Mapping[str, Any]]):
    """The facts of each row, kept as JSON."""

    texts: TextColumn

    @classmethod
    def of(cls, facts: Sequence[Mapping[str, Any]] | None, num_rows: int) -> Self:
        """Return the column of these facts, or of none."""
        texts = None if facts is None else [canonical_json(each).decode() if each else "" for each in facts]
        return cls(TextColumn.of(texts, num_rows))

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[Mapping[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> Mapping[str, Any] | list[Mapping[str, Any]]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        text = self.texts[place]
        return json.loads(text) if text else NO_FACTS

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[place] for place in range(len(self)))


@dataclass(frozen=True, eq=False)
class TargetColumn(Sequence[Target]):
    """The target of each row.

    `values` are indices of labels, int32, one of each row; or the indices or numbers, int32 or float64, of all rows one
    behind the other, with the `starts` of each row's.
    """

    values: NDArray[np.int32] | NDArray[np.float64]
    starts: Starts | None = None

    @classmethod
    def of(cls, targets: Iterable[Target]) -> Self:
        """Return the column of these targets, which are of one task."""
        some = list(targets) if not isinstance(targets, Sequence) else targets
        if not some or isinstance(some[0], int):
            return cls(np.fromiter(some, np.int32, len(some)))
        several: Sequence[tuple[int, ...] | tuple[float, ...]] = some  # type: ignore[assignment]  # as above, no integers
        starts = _starts(map(len, several))
        if any(isinstance(each, float) for target in several for each in target[:1]):
            return cls(np.fromiter(chain.from_iterable(several), np.float64, int(starts[-1])), starts)
        return cls(np.fromiter(chain.from_iterable(several), np.int32, int(starts[-1])), starts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many indices or numbers each row has."""
        return np.ones(len(self), np.int64) if self.starts is None else np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.values if self.starts is None else self.starts[1:])

    @overload
    def __getitem__(self, place: int) -> Target: ...
    @overload
    def __getitem__(self, place: slice) -> list[Target]: ...
    def __getitem__(self, place: int | slice) -> Target | list[Target]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if self.starts is None:
            return int(self.values[place])
        return tuple(_part(self.values, self.starts, place).tolist())


def _starts(lengths: Iterable[int]) -> Starts:
    """Return where the parts of these lengths start, one behind the other."""
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))]).astype(np.int64)


def _part(values: NDArray[Any], starts: Starts, place: int) -> NDArray[Any]:
    if place < 0:
        place += len(starts) - 1
    return values[starts[place] : starts[place + 1]]
