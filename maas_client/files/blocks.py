"""A block of rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Rows that follow each other: the cells of each, and the line that it stands on, or ends on."""

    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
