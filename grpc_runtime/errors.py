"""Errors on the wire: the only place where an exception becomes a gRPC code.

A known error keeps its text and its field violations; its detail goes to the log. An unknown error is logged under a
request id, and the caller gets that id alone. Clients accept 8 KiB of trailing metadata: a refusal fits into it,
however long the caller's own text is.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from model_store import errors

_log = structlog.get_logger()


class ClientSilent(errors.StoreError):
    """The client has begun to send and does not go on."""


class TooManyCalls(errors.StoreError):
    """The number of concurrent calls has reached the operator's limit."""


STORE_CODES: Mapping[type[Exception], grpc.StatusCode] = {
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.IllegalState: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Expired: grpc.StatusCode.OUT_OF_RANGE,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.StorageFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DamagedStore: grpc.StatusCode.DATA_LOSS,
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidManifest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidExample: grpc.StatusCode.INVALID_ARGUMENT,
    ClientSilent: grpc.StatusCode.DEADLINE_EXCEEDED,
    TooManyCalls: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""Code of each error of the store and of this package; a subclass has its nearest base's."""

# Together, with the details a third larger in base64, under 7,000 of the 8,192 bytes: the rest is the other entries'.
MAX_TEXT_BYTES = 2000
_MAX_DETAILS_BYTES = 3600
_MAX_FIELD_BYTES, _MAX_DESCRIPTION_BYTES = 200, 1000
_LEFT_OUT = " ... "


@dataclass(frozen=True)
class Refusal:
    """The answer to a failed call: a code, a text and trailing metadata, together at most 8 KiB."""

    code: grpc.StatusCode
    text: str
    trailing_metadata: tuple[tuple[str, bytes], ...] = ()


def code_of(error: Exception, codes: Mapping[type[Exception], grpc.StatusCode] = STORE_CODES) -> grpc.StatusCode | None:
    """Return the code of an error that `codes` or the store's table knows, or None."""
    return next((known[kind] for kind in type(error).__mro__ for known in (codes, STORE_CODES) if kind in known), None)


def refusal(error: Exception, codes: Mapping[type[Exception], grpc.StatusCode], method: str) -> Refusal:
    """Return the refusal for an error; log an error that neither `codes` nor the store's table contains."""
    code = code_of(error, codes)
    if code is not None:
        if isinstance(error, errors.StoreError) and error.detail:
            _log.warning("request_refused", method=method, code=code.name, reason=error.in_full)
        text = _cut(str(error), MAX_TEXT_BYTES, percent_encoded_bytes)
        return Refusal(code, text, _details(code, text, error))
    request_id = uuid.uuid4().hex
    _log.error("request_failed", method=method, request_id=request_id, exc_info=error)
    return Refusal(grpc.StatusCode.INTERNAL, f"internal error (request id {request_id})")


def _details(code: grpc.StatusCode, text: str, error: Exception) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata that carries google.rpc.BadRequest, as every language's client expects it."""
    if not isinstance(error, errors.InvalidInput):
        return ()
    room = _MAX_DETAILS_BYTES - _utf8_bytes(text)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=_fitting(error.violations, room)))
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=text, details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)


def _fitting(
    violations: Iterable[errors.Violation], room: int
) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    """Yield the first violations that fit into the room, with their texts shortened."""
    for each in violations:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(each.field, _MAX_FIELD_BYTES, _utf8_bytes),
            description=_cut(each.description, _MAX_DESCRIPTION_BYTES, _utf8_bytes),
        )
        room -= violation.ByteSize() + 3  # its tag and length
        if room < 0:
            return
        yield violation


def _cut(text: str, max_bytes: int, num_bytes: Callable[[str], int]) -> str:
    """Return the text within this number of bytes; cut the middle of a longer one.

    The beginning names the resource, the end says what to do. A lone surrogate, possible in a file name, is written as
    an escape sequence.
    """
    if len(text) > 2 * max_bytes:
        text = text[:max_bytes] + text[-max_bytes:]
    text = text.encode("utf-8", "backslashreplace").decode()
    if num_bytes(text) <= max_bytes:
        return text
    room = max_bytes - num_bytes(_LEFT_OUT)
    end = _taken(reversed(text), room // 3, num_bytes)
    start = _taken(text, room - num_bytes(end), num_bytes)
    return f"{start}{_LEFT_OUT}{end[::-1]}"


def _taken(characters: Iterable[str], room: int, num_bytes: Callable[[str], int]) -> str:
    """Return the first characters that fit into the room."""
    taken = []
    for character in characters:
        room -= num_bytes(character)
        if room < 0:
            break
        taken.append(character)
    return "".join(taken)


def _utf8_bytes(text: str) -> int:
    return len(text.encode())


def percent_encoded_bytes(text: str) -> int:
    """Return the size of a text as grpc-message, where all but printable ASCII is three bytes for each of UTF-8."""
    return sum(1 if " " <= each <= "~" and each != "%" else 3 * len(each.encode()) for each in text)
