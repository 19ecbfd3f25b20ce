"""Which columns of a table fill which tensor of a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maas_client.files.tables import Unusable

_SHOWN = 10


@dataclass(frozen=True)
class Filled:
    """One tensor [n, *shape], FP32 or BYTES, and the places of the columns that its elements come from."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    places: tuple[int, ...]
    may_be_missing: bool = False


def places_of(columns: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Return where columns stand; raise Unusable naming one that is not there."""
    if missing := [name for name in wanted if name not in columns]:
        shown = ", ".join(columns[:_SHOWN])
        raise Unusable(f"has no column {missing[0]!r}: the first line has {shown}")
    return tuple(columns.index(name) for name in wanted)
