"""A block of rows of a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Block:
    """Rows that follow each other: the cells of each, and the line that it stands on, or ends on."""

    rows: Sequence[Sequence[str]]
    lines: Sequence[int]


class LineRows(Sequence[Sequence[str]]):
    """The rows of lines of delimited text without quotes, split into cells where someone asks for cells."""

    def __init__(self, lines: Sequence[str], separator: str) -> None:
        self._lines = lines
        self._separator = separator

    def numbers(self, places: Sequence[int]) -> NDArray[np.float32] | None:
        """Return the cells at some places of each row, float32 [n, places]; None where one is no plain number."""
        import numpy as np

        try:
            return np.loadtxt(
                self._lines, np.float32, delimiter=self._separator, usecols=places, comments=None, ndmin=2
            )
        except ValueError:
            return None

    @cached_property
    def _cells(self) -> list[list[str]]:
        return list(csv.reader(self._lines, delimiter=self._separator, strict=True))

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, place: int) -> Sequence[str]: ...
    @overload
    def __getitem__(self, place: slice) -> list[list[str]]: ...
    def __getitem__(self, place: int | slice) -> Sequence[str] | list[list[str]]:
        return self._cells[place]

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self._cells)
