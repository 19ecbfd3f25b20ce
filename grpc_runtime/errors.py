"""Errors on the wire: the one place where an exception becomes a gRPC code.

A known error keeps its text and its field violations; an unknown one is logged under a request id and answered with
that id alone, so that no internal text reaches a caller.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

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


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers every exception of a handler by a table of codes; a service adds its own errors to the store's."""

    def __init__(self, codes: Mapping[type[Exception], grpc.StatusCode] | None = None) -> None:
        self._codes = codes or {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        wrap = self._stream if handler.response_streaming else self._unary
        return _rebuilt(handler, lambda behaviour: wrap(behaviour, handler_call_details.method))

    def _unary(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: ANN401  any message
            try:
                return await behaviour(request, context)
            except Exception as error:  # noqa: BLE001  the outermost frame of a request
                await self._abort(context, error, method)

        return answer

    def _stream(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:  # noqa: ANN401
            try:
                answering = behaviour(request, context)
                if inspect.isawaitable(answering):
                    await answering  # gRPC's other style, which writes to the context: health.Watch is such a handler
                else:
                    async for message in answering:
                        yield message
            except Exception as error:  # noqa: BLE001  the outermost frame of a request
                await self._abort(context, error, method)

        return answer

    async def _abort(self, context: grpc.aio.ServicerContext[Any, Any], error: Exception, method: str) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        told = refusal(error, self._codes, method)
        await context.abort(told.code, told.text, told.trailing_metadata)


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


def _rebuilt(
    handler: grpc.RpcMethodHandler[Any, Any], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> grpc.RpcMethodHandler[Any, Any]:
    kinds = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }
    make, behaviour = kinds[handler.request_streaming, handler.response_streaming]
    if behaviour is None:
        return handler
    wrapped: Any = wrap(behaviour)
    rebuilt: grpc.RpcMethodHandler[Any, Any] = make(wrapped, handler.request_deserializer, handler.response_serializer)
    return rebuilt
