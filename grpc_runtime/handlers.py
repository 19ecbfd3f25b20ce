"""The handler of each call, found by the name of its method; it turns each exception into a gRPC code.

Requests are parsed here and not by gRPC. gRPC answers a malformed message with UNKNOWN and logs a traceback; a call
without a message it never answers.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import grpc

from grpc_runtime.errors import ClientSilent, TooManyCalls, refusal
from grpc_runtime.messages import Deserializer, read_message
from model_store.errors import InvalidInput

_Behaviour = Callable[..., Any]
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Messages = AsyncIterator[bytes]
_HEALTH = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True)
class Guard:
    """Check the calls of `methods`, which take one message, before the message is read, while the guard `is_on`.

    `check` gets the seconds until the deadline of the call, or None without a deadline. It refuses the call by raising.
    """

    methods: frozenset[str]
    is_on: Callable[[], bool]
    check: Callable[[float | None], object]


@dataclass(frozen=True)
class CallLimits:
    """The limits of concurrent calls, and the time for which an uploading client may be silent."""

    max_calls: int
    idle_seconds: float


class Handlers(grpc.GenericRpcHandler):
    """The handlers of a server's services; pass it to generated code as the server, and then to the server.

    An exception is answered by a table of codes; a service adds its own errors to the store's. Calls beyond `limits`
    are refused, except health checks.

    The server has one generic handler because grpcio 1.85 keeps a task for each registered method, and waits on all of
    these tasks again for every call: with 30 methods this takes a third of the time of a small request. An interceptor
    would wrap the handler again for every call.
    """

    def __init__(
        self,
        limits: CallLimits,
        codes: Mapping[type[Exception], grpc.StatusCode] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._limits = limits
        self._codes = codes or {}
        self._guard = guard
        self._handlers: dict[str, _Handler] = {}
        self._num_calls = 0

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, _Handler]) -> None:
        """Register a service's handlers by method name; generated code calls this."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._handlers[method] = self._answering_errors(handler, method)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignore the second registration of the same handlers by generated code."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """Return the handler of a call; None makes it UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)

    def _answering_errors(self, handler: _Handler, method: str) -> _Handler:
        """Return a handler of streams of bytes: on the wire a call of one message is a stream of one message."""
        kinds = {
            (False, False): handler.unary_unary,
            (False, True): handler.unary_stream,
            (True, False): handler.stream_unary,
            (True, True): handler.stream_stream,
        }
        behaviour = kinds[handler.request_streaming, handler.response_streaming]
        if behaviour is None:
            raise ValueError(f"{method} has a handler without a behaviour")
        request = self._request(handler, method)
        answer: Any = (self._stream if handler.response_streaming else self._unary)(behaviour, request, method)
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        made: _Handler = make(answer, None, handler.response_serializer)
        return made

    def _request(self, handler: _Handler, method: str) -> Callable[[_Messages, _Context], Awaitable[Any]]:
        """Return the function that parses the request of a call."""
        deserialize = handler.request_deserializer
        if not handler.request_streaming:
            guard = self._guard if self._guard is not None and method in self._guard.methods else None
            return partial(_one_message, deserialize, guard)
        # Of a stream that is answered at its end nothing but the client's silence says that it will not end.
        idle_seconds = None if handler.response_streaming else self._limits.idle_seconds

        async def request(messages: _Messages, _context: _Context) -> AsyncIterator[Any]:
            return _all_messages(deserialize, messages, idle_seconds)

        return request

    def _unary(
        self, behaviour: _Behaviour, request: Callable[[_Messages, _Context], Awaitable[Any]], method: str
    ) -> _Behaviour:
        async def answer(messages: _Messages, context: _Context) -> Any:  # noqa: ANN401  any message
            try:
                with self._place(method):
                    return await behaviour(await request(messages, context), context)
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

    def _stream(
        self, behaviour: _Behaviour, request: Callable[[_Messages, _Context], Awaitable[Any]], method: str
    ) -> _Behaviour:
        async def answer(messages: _Messages, context: _Context) -> AsyncIterator[Any]:
            try:
                with self._place(method):
                    answering = behaviour(await request(messages, context), context)
                    # gRPC's other style writes to the context, for example health.Watch.
                    if inspect.isawaitable(answering):
                        await answering
                    else:
                        async for message in answering:
                            yield message
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001  the outermost frame of a request
                told = refusal(error, self._codes, method)
                await context.abort(told.code, told.text, told.trailing_metadata)

        return answer

    @contextmanager
    def _place(self, method: str) -> Iterator[None]:
        """Count a call; raise TooManyCalls at the limit."""
        if self._num_calls >= self._limits.max_calls and method != _HEALTH:
            raise TooManyCalls(f"the service has {self._num_calls} calls already: try again later")
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1


async def _one_message(
    deserialize: Deserializer | None,
    guard: Guard | None,
    _messages: _Messages,
    context: _Context,
) -> Any:  # noqa: ANN401  any message
    """Return the only message of a call that the guard lets pass; raise InvalidInput for a call without one."""
    if guard is not None and guard.is_on():
        guard.check(context.time_remaining())
    data = await context.read()
    if data is grpc.aio.EOF:
        raise InvalidInput.of("request", "is missing: the call has ended without a message")
    return read_message(deserialize, data)


async def _all_messages(
    deserialize: Deserializer | None, messages: _Messages, idle_seconds: float | None
) -> AsyncIterator[Any]:
    """Yield the messages of a call; raise ClientSilent where the next one does not come in time."""
    while (data := await _next_within(messages, idle_seconds)) is not None:
        yield read_message(deserialize, data)


async def _next_within(messages: _Messages, idle_seconds: float | None) -> bytes | None:
    """Return the next message, None behind the last."""
    if idle_seconds is None:
        return await anext(messages, None)

    async def read() -> bytes | None:
        return await anext(messages, None)

    # Not cancelled: gRPC's core may still write where a read that is under way has its memory. The call's end ends it.
    reading = asyncio.ensure_future(read())
    reading.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    await asyncio.wait([reading], timeout=idle_seconds)
    if not reading.done():
        raise ClientSilent(f"nothing has come for {idle_seconds:g} s: send it again, without such a pause")
    return reading.result()
