"""The protocol between the service and a background worker: one order, then frames with messages or one error."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from model_store import errors
from model_store.errors import InvalidInput, StoreError, Violation
from training_service.settings import TrainingSettings

MESSAGE, ERROR = b"m", b"e"
LENGTH_BYTES = 4


class Kind(StrEnum):
    """The kinds of work of a background worker."""

    EVALUATE = "evaluate"
    REPORT = "report"
    RECOMMEND = "recommend"


@dataclass(frozen=True)
class SideOrder:
    """One piece of work: the caller's request, as it travels, and the service's settings."""

    kind: Kind
    request: bytes
    settings: TrainingSettings

    def to_line(self) -> bytes:
        """Return the order as one line of JSON."""
        request = base64.b64encode(self.request).decode()
        values = {"kind": self.kind, "request": request, "settings": self.settings.model_dump(mode="json")}
        return json.dumps(values).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read the line that `to_line` writes."""
        values = json.loads(line)
        request = base64.b64decode(values["request"])
        return cls(Kind(values["kind"]), request, TrainingSettings(**values["settings"]))


def frame(kind: bytes, content: bytes) -> bytes:
    """Return a frame: its kind, the length of its content, and its content."""
    return kind + len(content).to_bytes(LENGTH_BYTES) + content


def error_content(error: StoreError) -> bytes:
    """Return the content of an error's frame."""
    violations = error.violations if isinstance(error, InvalidInput) else ()
    fields = [(each.field, each.description) for each in violations]
    values = {"kind": type(error).__name__, "text": str(error), "detail": error.detail, "violations": fields}
    return json.dumps(values).encode()


def read_error(content: bytes) -> StoreError:
    """Return the error that `error_content` wrote, of the same kind."""
    values = json.loads(content)
    if values["violations"]:
        return InvalidInput(*(Violation(*each) for each in values["violations"]))
    kinds = {kind.__name__: kind for kind in _kinds_below(StoreError) if kind.__module__ == errors.__name__}
    return kinds.get(values["kind"], StoreError)(values["text"], detail=values["detail"])


def _kinds_below(kind: type[StoreError]) -> Iterator[type[StoreError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds_below(each)
