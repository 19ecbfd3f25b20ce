"""Numbers as they are typed: each is finite and fits into the field that it is sent in, or is refused in one line."""

from __future__ import annotations

import math

import typer
from google.protobuf.descriptor import FieldDescriptor

from maas_client.failures import CommandFailed

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
_INTEGERS = {FieldDescriptor.CPPTYPE_INT32: INT32_MAX, FieldDescriptor.CPPTYPE_INT64: INT64_MAX}
_FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
_BOOLEANS = {"true": True, "false": False}


def finite(value: float | None) -> float | None:
    """Return an option's value; the parser refuses what is no finite number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def field_value(name: str, kind: int, text: str) -> str | float | bool:
    """Read a text as a field of this `cpp_type` wants it; raise CommandFailed naming the field."""
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if text.lower() not in _BOOLEANS:
            raise CommandFailed(f"{name} must be true or false, not {text!r}")
        return _BOOLEANS[text.lower()]
    if kind in _FLOATS:
        return _float(name, text)
    return _integer(name, text, _INTEGERS[kind]) if kind in _INTEGERS else text


def _float(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CommandFailed(f"{name} must be a finite number, not {text!r}")
    return value


def _integer(name: str, text: str, most: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise CommandFailed(f"{name} must be a whole number, not {text!r}") from None
    if not -most <= value <= most:
        raise CommandFailed(f"{name} must be {-most} to {most}, not {text}")
    return value
