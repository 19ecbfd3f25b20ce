"""Parses requests: malformed bytes and times out of range are errors of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from model_store.errors import InvalidInput

# The ranges of google/protobuf/timestamp.proto (the years 1 to 9999) and duration.proto (10,000 years).
_SECONDS_OF_TIME = range(-62_135_596_800, 253_402_300_800)
_SECONDS_OF_DURATION = range(315_576_000_001)
_NANOS = range(10**9)

Deserializer = Callable[[bytes], Any]


def read_message(deserialize: Deserializer | None, data: bytes) -> Any:  # noqa: ANN401  any message
    """Return the message in these bytes.

    Raises InvalidInput for malformed bytes, and for a Timestamp or a Duration out of its range. A duration from a
    caller must not be negative.
    """
    if deserialize is None:
        return data
    try:
        message = deserialize(data)
    except DecodeError as error:
        raise InvalidInput.of("request", f"is no message of this method: {error}") from error
    if isinstance(message, Message) and _holds_times(message.DESCRIPTOR):
        _check_times(message, "")
    return message


@cache
def _holds_times(kind: Descriptor) -> bool:
    """Say whether a message of this kind, or a message in it, can contain a time."""
    seen, waiting = {kind.full_name}, [kind]
    while waiting:
        one = waiting.pop()
        if one.full_name in {Timestamp.DESCRIPTOR.full_name, Duration.DESCRIPTOR.full_name}:
            return True
        for field in one.fields:
            if field.message_type is not None and field.message_type.full_name not in seen:
                seen.add(field.message_type.full_name)
                waiting.append(field.message_type)
    return False


def _check_times(message: Message, place: str) -> None:
    if isinstance(message, Timestamp) and not (message.seconds in _SECONDS_OF_TIME and message.nanos in _NANOS):
        raise InvalidInput.of(place, "must be a time of the years 1 to 9999, with nanos of 0 to 999,999,999")
    if isinstance(message, Duration) and not (message.seconds in _SECONDS_OF_DURATION and message.nanos in _NANOS):
        raise InvalidInput.of(place, "must not be negative or over 10,000 years, with nanos of 0 to 999,999,999")
    for field, value in message.ListFields():
        if field.message_type is not None and _holds_times(field.message_type):
            for name, part in _parts(field, value):
                _check_times(part, f"{place}.{name}" if place else name)


def _parts(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Message]]:  # noqa: ANN401  what ListFields gives
    """Yield the messages in a field, each with the name of its place."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        yield from ((f"{field.name}[{key}]", part) for key, part in value.items())
    elif field.is_repeated:
        yield from ((f"{field.name}[{index}]", part) for index, part in enumerate(value))
    else:
        yield field.name, value
