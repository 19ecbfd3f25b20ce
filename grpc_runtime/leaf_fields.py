"""Flat names for the fields of a message and of its nested messages.

A message (a recipe, for example) holds its settings in nested messages. A command line and a database row have a flat
list: `full.optimizer.learning_rate` is `learning_rate` there. A field or a oneof called `kind` gets the name of the
field that holds its message: `optimizer.kind` is `optimizer`. The words of this oneof are the names of its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

_KIND = "kind"


@dataclass(frozen=True)
class LeafField:
    """A field with one value, or a oneof `kind` of messages.

    `path` leads to it and includes it. `field` is None for a oneof. `words` are the values of an enum or a oneof.
    `within` names the enclosing oneof and its word, if any.
    """

    name: str
    path: tuple[str, ...]
    field: FieldDescriptor | None
    words: tuple[str, ...] = ()
    within: tuple[str, str] | None = None

    def read(self, message: Message) -> Any:  # noqa: ANN401  a field of any type
        """Return the value in a message; None if it is unset.

        An enum is returned as its word; a number that the enum does not know, as a text of its digits.
        """
        holder = self._holder(message)
        if self.field is None:
            return holder.WhichOneof(_KIND)
        value = getattr(holder, self.field.name)
        if self.field.enum_type is not None:
            return _word(self.field.enum_type, value) if value else None
        return value if holder.HasField(self.field.name) else None

    def write(self, message: Message, value: Any) -> None:  # noqa: ANN401  a field of any type
        """Set the value in a message; an enum or a oneof takes one of its words."""
        holder = self._holder(message)
        if self.field is None:
            getattr(holder, value).SetInParent()
        elif self.field.enum_type is not None:
            name = _prefix(self.field.enum_type) + value.upper()
            setattr(holder, self.field.name, self.field.enum_type.values_by_name[name].number)
        else:
            setattr(holder, self.field.name, value)

    def _holder(self, message: Message) -> Message:
        for name in self.path[:-1]:
            message = getattr(message, name)
        return message


def leaf_fields(message: type[Message]) -> Mapping[str, LeafField]:
    """Return the fields of a message and of the messages in it that hold one value, by their flat names."""
    descriptor: Descriptor = message.DESCRIPTOR  # type: ignore[assignment]  # of one interface, whichever made it
    return {leaf.name: leaf for leaf in _leaves(descriptor, (), None)}


def _leaves(message: Descriptor, path: tuple[str, ...], within: tuple[str, str] | None) -> Iterator[LeafField]:
    kind = message.oneofs_by_name.get(_KIND)
    if kind is not None:
        yield LeafField(path[-1], (*path, _KIND), None, tuple(each.name for each in kind.fields), within)
    for field in message.fields:
        here = (*path, field.name)
        if field.message_type is not None:
            is_kind = kind is not None and field.containing_oneof is kind
            yield from _leaves(field.message_type, here, (path[-1], field.name) if is_kind else within)
        else:
            name = path[-1] if field.name == _KIND else field.name
            words = tuple(_words(field.enum_type)) if field.enum_type is not None else ()
            yield LeafField(name, here, field, words, within)


def _words(enum: EnumDescriptor) -> Iterator[str]:
    return (_word(enum, value.number) for value in enum.values if value.number)


def _word(enum: EnumDescriptor, number: int) -> str:
    value = enum.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix(_prefix(enum)).lower()


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
