"""JSON schemas (draft 2020-12) of what commands print with `--json`, made from the types of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import FunctionType, UnionType
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from maas_client.views.outputs import OUTPUTS

_Schema = dict[str, Any]
_INTEGER, _LONG = {"type": "integer"}, {"type": "string", "pattern": r"^-?[0-9]+$"}
_NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_PLAIN: Mapping[Any, _Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: _INTEGER,
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
}
_OF_FIELDS: Mapping[int, _Schema] = {
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_INT32: _INTEGER,
    FieldDescriptor.CPPTYPE_UINT32: _INTEGER,
    FieldDescriptor.CPPTYPE_INT64: _LONG,
    FieldDescriptor.CPPTYPE_UINT64: _LONG,
    FieldDescriptor.CPPTYPE_FLOAT: _NUMBER,
    FieldDescriptor.CPPTYPE_DOUBLE: _NUMBER,
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
_WELL_KNOWN: Mapping[str, _Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Any": {"type": "object"},
}


def schema_of(command: str) -> _Schema:
    """Return the schema of what a command prints, by its words; raise KeyError for one that prints no JSON.

    Fields of a message that are at their default are left out of the JSON, and 64-bit integers are strings, as protobuf
    defines it (https://protobuf.dev/programming-guides/json).
    """
    made = _Schemas()
    found = made.of(OUTPUTS[command])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"maas {command} --json"}
    return {**head, **found, "$defs": dict(sorted(made.definitions.items()))}


class _Schemas:
    """The schemas of types; those that have a name stand in `definitions` once."""

    def __init__(self) -> None:
        self.definitions: dict[str, _Schema] = {}

    def of(self, kind: Any) -> _Schema:  # noqa: ANN401  a type
        if kind in _PLAIN:
            return _PLAIN[kind]
        if isinstance(kind, FunctionType):
            printed, more = kind()
            return self._defined(printed, {**_hints(printed), **more})
        return self._generic(kind) if get_origin(kind) is not None else self._class(kind)

    def _generic(self, kind: Any) -> _Schema:  # noqa: ANN401  a type
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in {Union, UnionType}:
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin in {dict, Mapping}:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        return {"type": "array", "items": self.of(arguments[0])}

    def _class(self, kind: Any) -> _Schema:  # noqa: ANN401  a type
        if issubclass(kind, Message):
            return self._message(kind.DESCRIPTOR)
        if issubclass(kind, Enum):
            return {"enum": [each.value for each in kind]}
        return self._defined(kind, _hints(kind))

    def _defined(self, kind: Any, hints: Mapping[str, Any]) -> _Schema:  # noqa: ANN401  a type
        annotated = get_type_hints(kind, include_extras=True)
        needed = sorted(name for name in hints if get_origin(annotated.get(name)) is not NotRequired)
        properties = {name: self.of(each) for name, each in hints.items()}
        made = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
        return self._referred(kind.__name__, lambda: made)

    def _message(self, message: Descriptor) -> _Schema:
        if message.full_name in _WELL_KNOWN:
            return _WELL_KNOWN[message.full_name]
        return self._referred(message.full_name, lambda: self._fields(message))

    def _fields(self, message: Descriptor) -> _Schema:
        properties = {field.name: self._field(field) for field in message.fields}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def _field(self, field: FieldDescriptor) -> _Schema:
        of = field.message_type
        if of is not None and of.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._value(of.fields_by_name["value"])}
        return {"type": "array", "items": self._value(field)} if field.is_repeated else self._value(field)

    def _value(self, field: FieldDescriptor) -> _Schema:
        if field.message_type is not None:
            return self._message(field.message_type)
        if field.enum_type is not None:
            return {"enum": [value.name for value in field.enum_type.values]}
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        return _OF_FIELDS[field.cpp_type]

    def _referred(self, name: str, make: Callable[[], _Schema]) -> _Schema:
        if name not in self.definitions:
            self.definitions[name] = {}  # a message may hold itself
            self.definitions[name] = make()
        return {"$ref": f"#/$defs/{name}"}


def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401  a type
    """Return the types of the fields of a TypedDict or a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)} if is_dataclass(kind) else hints
