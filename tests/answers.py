"""Compare answers to separate requests: another batch size may change the last bits of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

TOLERANCE = 1e-5


def alike(answer: Any, other: Any) -> bool:
    """Say whether two messages, or two fields of messages, differ in nothing but floats, each by at most 1e-5."""
    if isinstance(answer, float) and isinstance(other, float):
        return abs(answer - other) <= TOLERANCE
    if isinstance(answer, Message) and type(answer) is type(other):
        return alike(_set_fields(answer), _set_fields(other))
    if isinstance(answer, Mapping):
        return answer.keys() == other.keys() and all(alike(value, other[key]) for key, value in answer.items())
    if isinstance(answer, Sequence) and not isinstance(answer, str | bytes):
        return len(answer) == len(other) and all(map(alike, answer, other))
    return bool(answer == other)


def _set_fields(message: Message) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}
