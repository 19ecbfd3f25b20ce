"""Lets plain code in a thread read a client's stream, so that files and digests need no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import Generic, TypeVar

from model_store.errors import Unavailable

Message = TypeVar("Message")
Result = TypeVar("Result")


class ClientGone(Unavailable):
    """The client ended the call before it was answered."""


class IncomingStream(Generic[Message]):
    """A client's messages, read one by one by a thread; the client may vanish at any time."""

    def __init__(self, messages: AsyncIterator[Message], loop: asyncio.AbstractEventLoop) -> None:
        self._messages = messages
        self._loop = loop
        self._gone = threading.Event()

    def __iter__(self) -> Iterator[Message]:
        while (message := self._next()) is not None:
            yield message

    def check_client(self) -> None:
        """Raise ClientGone once the call has ended: what it asked for must not happen any more."""
        if self._gone.is_set():
            raise ClientGone("the client has ended the call")

    def abandon(self) -> None:
        """Tell the reading thread that the call has ended."""
        self._gone.set()

    def _next(self) -> Message | None:
        async def read() -> Message | None:
            return await anext(self._messages, None)

        self.check_client()
        try:
            return asyncio.run_coroutine_threadsafe(read(), self._loop).result()
        except (asyncio.CancelledError, RuntimeError) as error:  # the call, or the loop, ended meanwhile
            raise ClientGone("the client has ended the call") from error


async def in_thread(
    threads: Executor,
    handle: Callable[[IncomingStream[Message]], Result],
    messages: AsyncIterator[Message],
) -> Result:
    """Run `handle` on a client's stream in one of these threads; end it soon where the client goes."""
    loop = asyncio.get_running_loop()
    stream = IncomingStream(messages, loop)
    try:
        return await loop.run_in_executor(threads, handle, stream)
    finally:
        stream.abandon()
