"""What a server calls for each call: a handler by the call's name, whose every exception becomes a gRPC code.

Requests are read here, not by gRPC, which answers UNKNOWN and logs a traceback where a message cannot be parsed, and
answers never where there is none.
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
    """Calls of `methods`, which take one message, are checked before that is read, while the guard `is_on`.

    `check` gets the seconds until the call's deadline, None where it has none, and refuses it by raising.
    """

    methods: frozenset[str]
    is_on: Callable[[], bool]
    check: Callable[[float | None], object]


@dataclass(frozen=True)
class CallLimits:
    """How many calls a server has at once, and for how long a client that uploads may be silent."""

    max_calls: int
    idle_seconds: float


class Handlers(grpc.GenericRpcHandler):
    """The handlers of a server's services; give it to generated code in the server's place, and then to the server.

    An exception is answered by a table of codes; a service adds its own errors to the store's. Beyond `limits` calls
    are refused, but for the question whether the service is healthy.

    It stands between the two because grpcio 1.85 keeps a task for each method that is registered with a server, and
    waits on all of them anew for every call: with 30 methods a third of a small request's time. A server that finds
    methods by name has one such task. An interceptor would wrap the handler once more for every call.
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
        """Take a service's handlers by name of their method: what generated code calls."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._handlers[method] = self._answering_errors(handler, method)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Leave out what generated code gives a second time."""

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
        """Return what makes a call's request of its bytes."""
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
                    # gRPC's other style writes to the context: health.Watch is such a handler.
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
        """Count a call; raise TooManyCalls where there are as many as may be."""
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
    """Return the one message of a call, once the guard has let it pass; raise InvalidInput where there is none."""
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
