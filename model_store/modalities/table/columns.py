"""The columns of a table as a manifest holds them: each has a name, a type, and for categories the known ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from model_store.errors import InvalidExample
from model_store.modalities.checks import check
from model_store.modalities.table.cells import BOOLEANS, MAX_NUMBER, MISSING, bucket_of, date_of, number_of, text_of
from model_store.modalities.text.spec import LIMITS, checked_text

MAX_NAME, MAX_CATEGORIES, MAX_BUCKETS = 200, 10_000, 65_536
MAX_CHARACTERS = LIMITS.example
"""The characters in a cell of a column of texts."""
MISSING_CATEGORY = 0
"""The index of a missing category; known ones follow, and then the one of all others."""
NAN = float("nan")
_SHOWN = 80


class CellKind(StrEnum):
    """The type of a column."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    CATEGORY = "category"
    TEXT = "text"


@dataclass(frozen=True)
class TableColumn:
    """One column. A column of categories has those that are known, or hashes all into a number of buckets."""

    name: str
    kind: CellKind
    categories: tuple[str, ...] = ()
    buckets: int = 0

    @property
    def num_categories(self) -> int:
        """The number of indices: missing, then the known ones and one for all others, or the buckets."""
        return 1 + (self.buckets or len(self.categories) + 1)

    def number(self, cell: object) -> float:
        """Return a cell as a number: a date in days since 1970-01-01, a truth value as 0 or 1, NaN where it is missing.

        Raise InvalidExample, naming the column, for a cell of another type.
        """
        if cell is None or (isinstance(cell, str) and cell.strip() in MISSING):
            return NAN
        number = _NUMBERS[self.kind](cell)
        if number is None:
            raise InvalidExample(f"column {self.name!r} must be {_WANTED[self.kind]}, not {_shown(cell)}")
        return number

    def index(self, cell: object) -> int:
        """Return the index of a cell's category."""
        cell = _as_text(cell)
        if cell is None or (isinstance(cell, str) and (cell := cell.strip()) in MISSING):
            return MISSING_CATEGORY
        if not isinstance(cell, str):
            raise InvalidExample(f"column {self.name!r} must be a text, not {_shown(cell)}")
        if self.buckets:
            return 1 + bucket_of(cell, self.buckets)
        return self._places.get(cell, len(self.categories) + 1)

    def text(self, cell: object) -> str:
        """Return a cell as a text, empty where it is missing; raise InvalidExample, naming the column, for no text."""
        cell = _as_text(cell)
        if cell is None or (isinstance(cell, str) and cell.strip() in MISSING):
            return ""
        if not isinstance(cell, str):
            raise InvalidExample(f"column {self.name!r} must be a text, not {_shown(cell)}")
        try:
            return checked_text(cell, MAX_CHARACTERS)
        except InvalidExample as error:
            raise InvalidExample(f"column {self.name!r} {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the form in a manifest."""
        values: dict[str, Any] = {"name": self.name, "type": str(self.kind)}
        if self.kind is CellKind.CATEGORY:
            values |= {"buckets": self.buckets} if self.buckets else {"categories": list(self.categories)}
        return values

    @classmethod
    def from_json(cls, values: Any, place: str) -> Self:  # noqa: ANN401  whatever a manifest holds
        """Read the form in a manifest; raise InvalidManifest naming the wrong field."""
        check(isinstance(values, dict), place, "must be an object")
        name, kind = values.get("name"), values.get("type")
        check(isinstance(name, str) and 1 <= len(name) <= MAX_NAME, f"{place}.name", f"must be 1 to {MAX_NAME} letters")
        check(kind in list(CellKind), f"{place}.type", f"must be one of {', '.join(CellKind)}")
        categories, buckets = values.get("categories", []), values.get("buckets", 0)
        known = {"name", "type", "categories", "buckets"} if kind == CellKind.CATEGORY else {"name", "type"}
        check(set(values) <= known, place, f"must have no other fields than {', '.join(sorted(known))}")
        is_list = isinstance(categories, list) and all(isinstance(each, str) and each for each in categories)
        check(is_list and len(categories) <= MAX_CATEGORIES, f"{place}.categories", "must be texts, not too many")
        check(len(set(categories)) == len(categories), f"{place}.categories", "must have none twice")
        is_count = type(buckets) is int and 0 <= buckets <= MAX_BUCKETS
        check(is_count and not (buckets and categories), f"{place}.buckets", f"must be 0 to {MAX_BUCKETS}")
        return cls(name, CellKind(kind), tuple(categories), buckets)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {category: place for place, category in enumerate(self.categories, start=1)}


def _as_text(cell: object) -> object:
    """Return the text of a truth value or a number, and anything else as it is."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return text_of(cell) if isinstance(cell, int | float) else cell


def _as_number(cell: object) -> float | None:
    if isinstance(cell, str):
        return number_of(cell.strip())
    if isinstance(cell, int | float):
        return float(cell) if abs(cell) <= MAX_NUMBER else None
    return None


def _as_boolean(cell: object) -> float | None:
    if isinstance(cell, str):
        found = BOOLEANS.get(cell.strip().lower())
        return float(found) if found is not None else _as_flag(number_of(cell.strip()))
    return _as_flag(float(cell)) if isinstance(cell, int | float) else None


def _as_flag(number: float | None) -> float | None:
    return number if number in {0.0, 1.0} else None


def _as_date(cell: object) -> float | None:
    return date_of(cell.strip()) if isinstance(cell, str) else None


_NUMBERS = {CellKind.NUMBER: _as_number, CellKind.BOOLEAN: _as_boolean, CellKind.DATE: _as_date}
_WANTED = {
    CellKind.NUMBER: "a finite number, or null for a missing one",
    CellKind.BOOLEAN: "true or false, or null for a missing one",
    CellKind.DATE: "a date such as 2026-01-31, or null for a missing one",
}


def _shown(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
