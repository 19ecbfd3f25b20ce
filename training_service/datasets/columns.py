"""The columns of a dataset that was read from a table: their names, types and uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class ColumnType(StrEnum):
    """The type of the cells of a column."""

    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    DATE = "date"
    UNSPECIFIED = "unspecified"  # of a column that is ignored


class ColumnRole(StrEnum):
    """The use of a column."""

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
        """Read the form that `to_json` writes."""
        return cls(values["name"], ColumnType(values["type"]), ColumnRole(values["role"]))
