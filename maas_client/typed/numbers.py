"""Numbers as they are typed: each is finite and fits into the field that it is sent in, or is refused in one line."""

from __future__ import annotations

import math

import typer

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1


def finite(value: float | None) -> float | None:
    """Return an option's value; the parser refuses what is no finite number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value
