"""Texts that a caller may send, and every place of a request that takes one, found by walking the protos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_SCRIPTS = "Aé Ж花鳥 سلام हिन्दी ไทย 한국 👩\u200d👧 e\u0301 \u202e\u00a0 '\"%\\{}<&;--"
TEXTS = {
    "every alphabet": _SCRIPTS,
    "10,000 characters of every alphabet": (_SCRIPTS * 10_000)[:10_000],
    "10,000 letters": "a" * 10_000,
    "NUL": "a\x00b",
    "terminal control": "\x1b]0;a\x07\x9b31m\r",
    "10,000 NUL": "\x00" * 10_000,
}
_STRUCT = "google.protobuf.Struct"
_OPAQUE = {"google.protobuf.Timestamp", "google.protobuf.Duration"}

Path = tuple[FieldDescriptor, ...]


def text_paths(message: Descriptor, above: Path = ()) -> Iterator[Path]:
    """Yield the way to every field of a message, at any depth, that holds text; a map with texts is one."""
    for field in message.fields:
        path = (*above, field)
        kind = field.message_type
        if field.type == FieldDescriptor.TYPE_STRING or (kind is not None and has_texts_by_key(kind)):
            yield path
        elif kind is not None and kind.full_name not in _OPAQUE and field not in above:
            yield from text_paths(kind, path)


def has_texts_by_key(message: Descriptor) -> bool:
    """Say whether a message is an entry of a map with texts, or any JSON object."""
    texts = [field.type == FieldDescriptor.TYPE_STRING for field in message.fields]
    return message.full_name == _STRUCT or (message.GetOptions().map_entry and any(texts))


def filled(request: Message, path: Path, text: str) -> Iterator[Any]:
    """Yield copies of a request with the text in that field; of a map one with it as key, and one with it as value."""
    for place in ("key", "value") if path[-1].message_type is not None else ("",):
        copy = type(request)()
        copy.CopyFrom(request)
        if _set(copy, path, text, place):
            yield copy


def dotted(path: Sequence[FieldDescriptor]) -> str:
    """Name a field as violations do."""
    return ".".join(field.name for field in path)


def _set(message: Any, path: Path, text: str, place: str) -> bool:
    *above, field = path
    for each in above:
        message = getattr(message, each.name)
        if each.is_repeated:
            message = message[0] if len(message) else message.add()
    if field.message_type is None:
        if field.is_repeated:
            getattr(message, field.name).append(text)
        else:
            setattr(message, field.name, text)
        return True
    return _set_entry(getattr(message, field.name), field, text, place)


def _set_entry(entries: Any, field: FieldDescriptor, text: str, place: str) -> bool:
    if field.message_type.full_name == _STRUCT:
        entries.update({text: [text]} if place == "key" else {"key": {"nested": [text]}})
        return True
    value = field.message_type.fields_by_name["value"]
    if place == "key" and value.message_type is not None:
        entries[text].SetInParent()
    elif place == "key":
        entries[text] = "value" if value.type == FieldDescriptor.TYPE_STRING else 1
    elif value.type == FieldDescriptor.TYPE_STRING:
        entries["key"] = text
    else:
        return False
    return True
