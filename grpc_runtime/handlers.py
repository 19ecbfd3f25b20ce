"""What a server calls for each call: a handler by the call's name, whose every exception becomes a gRPC code."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from grpc_runtime.errors import refusal

_Behaviour = Callable[..., Any]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True)
class Guard:
    """Calls of `methods`, which take one message, are checked before that is read, while the guard `is_on`.

    `check` gets the seconds until the call's deadline, None where it has none, and refuses it by raising.
    """

    methods: frozenset[str]
    is_on: Callable[[], bool]
    check: Callable[[float | None], object]


class Handlers(grpc.GenericRpcHandler):
    """The handlers of a server's services; give it to generated code in the server's place, and then to the server.

    An exception is answered by a table of codes; a service adds its own errors to the store's.

    It stands between the two because grpcio 1.85 keeps a task for each method that is registered with a server, and
    waits on all of them anew for every call: with 30 methods a third of a small request's time. A server that finds
    methods by name has one such task. An interceptor would wrap the handler once more for every call.
    """

    def __init__(
        self, codes: Mapping[type[Exception], grpc.StatusCode] | None = None, guard: Guard | None = None
    ) -> None:
        self._codes = codes or {}
        self._guard = guard
        self._handlers: dict[str, _Handler] = {}
        self._guarded: dict[str, _Handler] = {}

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, _Handler]) -> None:
        """Take a service's handlers by name of their method: what generated code calls."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._handlers[method] = self._answering_errors(handler, method)
            if self._guard is not None and method in self._guard.methods:
                self._guarded[method] = self._answering_errors(_checked_unread(handler, self._guard), method)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Leave out what generated code gives a second time."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """Return the handler of a call; None makes it UNIMPLEMENTED."""
        method = handler_call_details.method
        if method in self._guarded and self._guard is not None and self._guard.is_on():
            return self._guarded[method]
        return self._handlers.get(method)

    def _answering_errors(self, handler: _Handler, method: str) -> _Handler:
        kinds = {
            (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
        }
        make, behaviour = kinds[handler.request_streaming, handler.response_streaming]
        if behaviour is None:
            raise ValueError(f"{method} has a handler without a behaviour")
        answer: Any = (self._stream if handler.response_streaming else self._unary)(behaviour, method)
        made: _Handler = make(answer, handler.request_deserializer, handler.response_serializer)
        return made

    def _unary(self, behaviour: _Behaviour, method: str) -> _Behaviour:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: ANN401  any message
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001  the outermost frame of a request
                told = refusal(error, self._codes, method)
                # Aborting would raise once more and send in two steps: a tenth more than a refusal costs so.
                context.set_code(told.code)
                context.set_details(told.text)
                context.set_trailing_metadata(told.trailing_metadata)
                return None

        return answer

    def _stream(self, behaviour: _Behaviour, method: str) -> _Behaviour:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:  # noqa: ANN401
            try:
                answering = behaviour(request, context)
                if inspect.isawaitable(answering):
                    await answering  # gRPC's other style, which writes to the context: health.Watch is such a handler
                else:
                    async for message in answering:
                        yield message
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001  the outermost frame of a request
                told = refusal(error, self._codes, method)
                await context.abort(told.code, told.text, told.trailing_metadata)

        return answer


def _checked_unread(handler: _Handler, guard: Guard) -> _Handler:
    """Return a handler for the same calls that leaves their message unread until they have passed.

    On the wire a stream of one message is a message: with a stream the behaviour is called first.
    """
    behaviour: Any = handler.unary_unary
    if behaviour is None:
        raise ValueError("only a method of one request and one answer can be guarded")

    async def answer(messages: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: ANN401
        guard.check(context.time_remaining())
        return await behaviour(await anext(messages), context)

    made: _Handler = grpc.stream_unary_rpc_method_handler(
        answer, handler.request_deserializer, handler.response_serializer
    )
    return made
