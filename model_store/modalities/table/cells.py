"""The meaning of a cell of a table, in training and in serving: a number, a truth value, a date or a category."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime

MISSING = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None", "none", "NaT", "nil"}
)
"""Texts that stand for a missing cell, as pandas and R write it."""
BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "t": True, "f": False, "y": True, "n": False}
"""Texts of truth values, in lower case."""
MAX_NUMBER = 3.4028234663852886e38  # the largest of float32
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ T](\d{1,2}:\d{2}(?::\d{2})?))?")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400


def number_of(text: str) -> float | None:
    """Return the number that a text is, in the range of float32; None where it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) <= MAX_NUMBER and "_" not in text else None


def date_of(text: str) -> float | None:
    """Return the days since 1970-01-01, UTC, of a date or time as `2026-01-31`, `2026-01-31T12:30` or `31.1.2026`."""
    if found := _DAY_FIRST.fullmatch(text):
        day, month, year, time = found.groups()
        text = f"{year}-{int(month):02d}-{int(day):02d}" + (f"T{time:0>5}" if time else "")
    elif not _ISO.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH).total_seconds() / _DAY_SECONDS


def text_of(number: float) -> str:
    """Return the text of a number that is a category: whole numbers without a point."""
    return f"{int(number)}" if math.isfinite(number) and number == int(number) else repr(number)


def bucket_of(text: str, num_buckets: int) -> int:
    """Return the bucket of a category, 0 to `num_buckets` - 1, by the first bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") % num_buckets
