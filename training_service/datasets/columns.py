"""The columns of a dataset that was read from a table: their names, types, and what each is used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class ColumnType(StrEnum):
    """What the cells of a column hold."""

    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"


class ColumnRole(StrEnum):
    """What a column is used for."""

    FEATURE = "feature"
    TARGET = "target"
    SPLIT = "split"
    GROUP = "group"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    type: ColumnType
    role: ColumnRole

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(values["name"], ColumnType(values["type"]), ColumnRole(values["role"]))
