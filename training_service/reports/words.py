"""Quantities as a report writes them: filters of its templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from humanize import naturalsize, precisedelta


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def duration_text(seconds: float) -> str:
    """Write a duration in days, hours, minutes and seconds."""
    return precisedelta(timedelta(seconds=seconds), format="%0.1f")


def setting_text(value: object) -> str:
    """Write a hyperparameter; several, such as the heads that are averaged, one after another."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{name} {setting_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(setting_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def number_text(value: float) -> str:
    """Write a number of an SVG attribute."""
    return f"{value:.6g}"


def thousands_text(value: int) -> str:
    """Write a count with a separator of thousands."""
    return f"{value:,}"


FILTERS: Mapping[str, Callable[..., str]] = {
    "size": naturalsize,
    "moment": moment_text,
    "duration": duration_text,
    "setting": setting_text,
    "number": number_text,
    "thousands": thousands_text,
}
"""By the name that templates call them."""
