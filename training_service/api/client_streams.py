"""Receives a client's stream by plain code that runs in threads, so that files and digests need no event loop.

A thread is taken for each message and given back: any number of silent clients hold no thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from model_store.errors import Unavailable

Message = TypeVar("Message")
Result = TypeVar("Result")
Receiver: TypeAlias = Generator[None, Message | None, Result]
"""Code that gets each message at a `yield`, and None behind the last; it returns the answer."""


class ClientGone(Unavailable):
    """The client ended the call before it was answered."""


class Caller:
    """The caller that waits for an answer, and may have gone; thread-safe."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def leave(self) -> None:
        """Record that the caller has gone."""
        self._gone.set()

    def check(self) -> None:
        """Raise ClientGone once the caller has gone."""
        if self._gone.is_set():
            raise ClientGone("the client has ended the call")


@dataclass(frozen=True)
class _Ended(Generic[Result]):
    result: Result


async def in_threads(
    threads: Executor,
    start: Callable[[Callable[[], None]], Receiver[Message, Result]],
    messages: AsyncIterator[Message],
) -> Result:
    """Run a receiver on a client's stream, each of its steps in one of these threads, and return its result.

    A receiver may return before the last message: the rest of the stream is not read. `start` gets a check that raises
    ClientGone after the end of the call, so that no effect follows it. When the client goes, the receiver is closed at
    the `yield` where it waits, or after the step that runs.
    """
    caller = Caller()
    receiver = start(caller.check)
    next(receiver)
    running: Future[_Ended[Result] | None] = Future()
    running.set_result(None)
    try:
        async for message in messages:
            running = threads.submit(_step, receiver, message)
            if (ended := await asyncio.wrap_future(running)) is not None:
                return ended.result
        running = threads.submit(_step, receiver, None)
        ended = await asyncio.wrap_future(running)
    finally:
        caller.leave()
        running.add_done_callback(lambda _: receiver.close())
    if ended is None:
        raise ValueError("a receiver must return behind the last message")
    return ended.result


def _step(receiver: Receiver[Message, Result], message: Message | None) -> _Ended[Result] | None:
    """Give a receiver a message; return its end, or None while it waits for the next message."""
    try:
        receiver.send(message)
    except StopIteration as end:
        return _Ended(end.value)
    return None
