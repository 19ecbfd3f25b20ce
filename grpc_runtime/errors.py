"""Errors on the wire: the one place where an exception becomes a gRPC code.

A known error keeps its text and its field violations; an unknown one is logged under a request id and answered with
that id alone, so that no internal text reaches a caller.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from model_store import errors

_log = structlog.get_logger()

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
    errors.InvalidImage: grpc.StatusCode.INVALID_ARGUMENT,
}
"""Code of each error of the store; a subclass has its nearest base's."""


@dataclass(frozen=True)
class Refusal:
    """What a caller is told of an error: a code, a text, and trailing metadata."""

    code: grpc.StatusCode
    text: str
    trailing_metadata: tuple[tuple[str, bytes], ...] = ()


def refusal(error: Exception, codes: Mapping[type[Exception], grpc.StatusCode], method: str) -> Refusal:
    """Return what a caller is told of an error; one that neither `codes` nor the store's table knows is logged."""
    code = next((known[kind] for kind in type(error).__mro__ for known in (codes, STORE_CODES) if kind in known), None)
    if code is not None:
        return Refusal(code, str(error), _details(code, error))
    request_id = uuid.uuid4().hex
    _log.error("request_failed", method=method, request_id=request_id, exc_info=error)
    return Refusal(grpc.StatusCode.INTERNAL, f"internal error (request id {request_id})")


def _details(code: grpc.StatusCode, error: Exception) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata that carries google.rpc.BadRequest, as every language's client expects it."""
    if not isinstance(error, errors.InvalidInput):
        return ()
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
        for each in error.violations
    ]
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=violations))
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=str(error), details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)
