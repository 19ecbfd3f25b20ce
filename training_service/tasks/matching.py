"""Matches the names of a dataset's targets with those of a version, whichever task both have."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.errors import InvalidInput

_SHOWN_NAMES = 10


def check_rows(num_rows: int) -> None:
    """Raise InvalidInput where there is no row to measure."""
    if num_rows == 0:
        raise InvalidInput.of("split", "has no rows: choose another one")


def lacks(what: str, names: Sequence[str]) -> InvalidInput:
    """Return the error for labels or targets of a dataset that a version lacks."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return InvalidInput.of(
        "dataset", f"has {what} that the version lacks, {shown}{more}: choose another dataset or version"
    )


def first_places(names: Sequence[str]) -> dict[str, int]:
    """Return the place of each name; of equal names the first one counts."""
    return {name: place for place, name in reversed(list(enumerate(names)))}
