"""The schema of a table as people write it: the kind of each column, by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from maas.training.v1 import training_pb2 as pb

from maas_client.errors import InvalidArgument
from maas_client.typed.known_names import there_are
from model_store.normal_form import normal_form

_ROLES = {
    "feature": pb.COLUMN_ROLE_FEATURE,
    "target": pb.COLUMN_ROLE_TARGET,
    "split": pb.COLUMN_ROLE_SPLIT,
    "group": pb.COLUMN_ROLE_GROUP,
    "ignore": pb.COLUMN_ROLE_IGNORED,
}
_TYPES = {
    "numeric": pb.COLUMN_TYPE_NUMBER,
    "categorical": pb.COLUMN_TYPE_CATEGORY,
    "boolean": pb.COLUMN_TYPE_BOOLEAN,
    "date": pb.COLUMN_TYPE_DATE,
    "text": pb.COLUMN_TYPE_TEXT,
}
KINDS = (*_TYPES, *_ROLES)
"""What a column may be: a feature with a type, a feature whose type the service finds out, or of another use."""
_KIND_OF_ROLE = {role: kind for kind, role in _ROLES.items()}
_KIND_OF_TYPE = {kind: word for word, kind in _TYPES.items()} | {pb.COLUMN_TYPE_INTEGER: "numeric"}


def schema_message(columns: Mapping[str, str]) -> pb.Schema | None:
    """Return the message for kinds by column, None without any; raise InvalidArgument naming a wrong one's column."""
    found = []
    for name, kind in columns.items():
        if kind not in KINDS:
            raise InvalidArgument(f"column {name!r} cannot be {kind!r}: a column is one of {', '.join(KINDS)}")
        found.append(pb.Column(name=name, role=_ROLES.get(kind, pb.COLUMN_ROLE_FEATURE), type=_TYPES.get(kind)))
    return pb.Schema(columns=found) if found else None


def kinds_of(schema: pb.Schema) -> dict[str, str]:
    """Return the kind of each column of a dataset."""
    return {column.name: _kind_of(column) for column in schema.columns}


def _kind_of(column: pb.Column) -> str:
    is_ignored_text = column.role == pb.COLUMN_ROLE_IGNORED and column.type == pb.COLUMN_TYPE_TEXT
    if column.role == pb.COLUMN_ROLE_FEATURE or is_ignored_text:
        return _KIND_OF_TYPE[column.type]
    return _KIND_OF_ROLE[column.role]


def read_schema(path: Path) -> dict[str, str]:
    """Return the kinds by column in a JSON file; raise InvalidArgument for anything else. Raises OSError."""
    try:
        pairs = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is no JSON file: {error}") from error
    if not isinstance(pairs, tuple):
        raise InvalidArgument(f'{path} must hold one object with a kind for each column, such as {{"age": "numeric"}}')
    kinds: dict[str, str] = {}
    for name, kind in pairs:
        column = normal_form(name.strip())
        if not isinstance(kind, str) or kind not in KINDS:
            raise InvalidArgument(f"{path}: column {column!r} has no kind {str(kind)[:80]!r}: {_known(kind)}")
        if column in kinds:
            raise InvalidArgument(f"{path} names the column {column!r} twice")
        kinds[column] = kind
    return kinds


def _known(kind: object) -> str:
    return there_are(kind, KINDS) if isinstance(kind, str) else f"there are {', '.join(KINDS)}"
