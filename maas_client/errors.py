"""Errors of the client: what went wrong, in which fields, and what to do next.

Each error of a service has a class of its own and is chained from the grpc.RpcError that it stands for. Each is a
grpc.RpcError itself, so that code written for gRPC catches it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

import grpc

from grpc_runtime.addresses import proxy_remark
from maas_client.exit_codes import ExitCode

if TYPE_CHECKING:
    from maas.training.v1 import training_pb2

_ARE_THEY_RUNNING = "Are the services running? `maas up` starts them on this machine."
_IS_IT_RIGHT = "Is the address right? MAAS_TRAINING_ADDRESS and MAAS_INFERENCE_ADDRESS say where the services are."


class MaasError(Exception):
    """Something cannot be done; `message` says why, `hint` what to do next (empty where the message says it)."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    """How the `maas` command ends after this error."""
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    def __str__(self) -> str:
        """Return the message and, on a line of its own, the hint."""
        return "\n".join(filter(None, [self.message, self.hint]))


class ServiceError(MaasError, grpc.RpcError):
    """A service refused or failed; `violations` are the fields that were wrong, and why."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self, message: str, *, hint: str = "", violations: Mapping[str, str] | None = None, details: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.violations: Mapping[str, str] = dict(violations or {})
        self._details = message if details is None else details

    def code(self) -> grpc.StatusCode:
        """Return gRPC's code."""
        cause = self.__cause__
        return cause.code() if isinstance(cause, grpc.Call) else self.status

    def details(self) -> str:
        """Return the text that the service sent."""
        return self._details


class InvalidArgument(ServiceError, ValueError):
    """An argument is wrong, as the client or the service found; nothing was changed."""

    status, exit_code = grpc.StatusCode.INVALID_ARGUMENT, ExitCode.USAGE


class NotFound(ServiceError, LookupError):
    """There is no such model, version, alias, dataset or job."""

    status, exit_code = grpc.StatusCode.NOT_FOUND, ExitCode.NOT_FOUND


class AlreadyExists(ServiceError):
    """There is one of this name already."""

    status, exit_code = grpc.StatusCode.ALREADY_EXISTS, ExitCode.CONFLICT


class FailedPrecondition(ServiceError):
    """The state of the resource does not allow it."""

    status, exit_code = grpc.StatusCode.FAILED_PRECONDITION, ExitCode.CONFLICT


class Aborted(ServiceError):
    """The resource has changed since it was read: its etag is another."""

    status, exit_code = grpc.StatusCode.ABORTED, ExitCode.CONFLICT
    default_hint = "It has changed since: read it again."


class OutOfRange(ServiceError):
    """What was asked for is not kept any more."""

    status, exit_code = grpc.StatusCode.OUT_OF_RANGE, ExitCode.CONFLICT


class Unavailable(ServiceError):
    """The service does not answer, or what was asked for is not ready yet."""

    status, exit_code = grpc.StatusCode.UNAVAILABLE, ExitCode.UNAVAILABLE
    default_hint = "Try again in a moment."


class DeadlineExceeded(ServiceError, TimeoutError):
    """The time given was too short."""

    status, exit_code = grpc.StatusCode.DEADLINE_EXCEEDED, ExitCode.UNAVAILABLE
    default_hint = "The service is busy: try again, or give it more time."


class ResourceExhausted(ServiceError):
    """The service is at a limit."""

    status, exit_code = grpc.StatusCode.RESOURCE_EXHAUSTED, ExitCode.UNAVAILABLE
    default_hint = "The service is at a limit: see the message, then try again."


class PermissionDenied(ServiceError):
    """The caller may not do this."""

    status, exit_code = grpc.StatusCode.PERMISSION_DENIED, ExitCode.DENIED


class Unauthenticated(ServiceError):
    """The service does not know who calls."""

    status, exit_code = grpc.StatusCode.UNAUTHENTICATED, ExitCode.DENIED


class Unimplemented(ServiceError):
    """The server at this address has no such call."""

    status = grpc.StatusCode.UNIMPLEMENTED
    default_hint = (
        "Is it the other service? The training service (datasets, jobs, models) and the inference service "
        "(predictions) have an address each: set MAAS_TRAINING_ADDRESS and MAAS_INFERENCE_ADDRESS."
    )


class Cancelled(ServiceError):
    """The call was cancelled."""

    status = grpc.StatusCode.CANCELLED


class DataLoss(ServiceError):
    """Something that is stored is damaged."""

    status = grpc.StatusCode.DATA_LOSS


class Internal(ServiceError):
    """A fault of the service; the message has the id under which its log tells more."""

    status = grpc.StatusCode.INTERNAL


class LoadFailed(MaasError):
    """The inference service cannot load a version; the message says why."""


class JobFailed(MaasError):
    """A training job ended without a version; `job` is that job."""

    def __init__(self, message: str, job: training_pb2.TrainingJob) -> None:
        super().__init__(message)
        self.job = job


_BY_STATUS: Mapping[grpc.StatusCode, type[ServiceError]] = {
    each.status: each
    for each in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unavailable,
        DeadlineExceeded,
        ResourceExhausted,
        PermissionDenied,
        Unauthenticated,
        Unimplemented,
        Cancelled,
        DataLoss,
        Internal,
    )
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise the client's own error, chained from it, for each grpc.RpcError."""
    try:
        yield
    except grpc.RpcError as error:
        own = error_of(error)
        if own is error:
            raise
        raise own from error


def error_of(error: grpc.RpcError) -> ServiceError:
    """Return the client's own error for one of gRPC's."""
    if isinstance(error, ServiceError):
        return error
    if not isinstance(error, grpc.Call):
        return ServiceError(str(error))
    code, details = error.code(), error.details() or ""
    kind = _BY_STATUS.get(code, ServiceError)
    told, hint = details, ""
    if code is grpc.StatusCode.UNAVAILABLE:
        told, hint = _not_reached(details) or (details, "")
    message = f"{code.name}: {told}".removesuffix(": ")
    return kind(message, hint=hint, violations=_violations(error), details=details)


def _not_reached(details: str) -> tuple[str, str] | None:
    """Return what is wrong and what to do where no service was reached; None where one answered."""
    if "failed to connect" in details:
        found = re.search(r"ipv[46]:(\S+?:\d+):? ", unquote(details) + " ")
        address = found[1] if found else "the address"
        if remark := proxy_remark(details):
            return f"the proxy at {address} does not lead to the service", remark
        return f"no service answers at {address}", _ARE_THEY_RUNNING
    if "errors resolving" in details or "DNS resolution failed" in details:
        return details, _IS_IT_RIGHT
    return None


def _violations(error: grpc.Call) -> Mapping[str, str]:
    """Return the fields that a refusal names, and why."""
    if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
        return {}
    from google.rpc.error_details_pb2 import BadRequest
    from grpc_status import rpc_status

    request = BadRequest()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Unpack(request):
            return {each.field: each.description for each in request.field_violations}
    return {}
