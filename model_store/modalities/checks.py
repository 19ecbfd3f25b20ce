"""Checks of a manifest's input spec: each names the wrong field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from model_store.errors import InvalidManifest


def check(holds: bool, field: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    """Raise InvalidManifest naming the field of the input spec, unless the rule holds."""
    if not holds:
        raise InvalidManifest(f"input_spec.{field} {rule}")


def check_num_rows(num_rows: int, max_rows: int) -> None:
    """Raise InvalidManifest unless there are 1 to `max_rows` rows."""
    if not 0 < num_rows <= max_rows:
        raise InvalidManifest(f"must be 1 to {max_rows}, not {num_rows}")


def check_names(values: Mapping[str, Any], names: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Raise InvalidManifest unless the values have exactly these names, and any of those that are optional."""
    known = set(names)
    for name in sorted((known ^ set(values)) - set(optional)):
        check(name in known, name, "is unknown")
        check(name in values, name, "is missing")
