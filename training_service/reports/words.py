"""Quantities as a report writes them: filters of its templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime


def size_text(num_bytes: int) -> str:
    """Write a number of bytes in the unit that suits it."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def duration_text(seconds: float) -> str:
    """Write how long something took."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def setting_text(value: object) -> str:
    """Write a hyperparameter."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def number_text(value: float) -> str:
    """Write a number of an SVG attribute."""
    return f"{value:.6g}"


def thousands_text(value: int) -> str:
    """Write a count with a separator of thousands."""
    return f"{value:,}"


FILTERS: Mapping[str, Callable[..., str]] = {
    "size": size_text,
    "moment": moment_text,
    "duration": duration_text,
    "setting": setting_text,
    "number": number_text,
    "thousands": thousands_text,
}
"""By the name that templates call them."""
