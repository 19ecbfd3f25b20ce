"""Receives a client's stream by plain code that runs in threads, so that files and digests need no event loop.

A thread is taken for each message and given back: clients that are silent, however many, hold up nobody.
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
"""Code that gets each message where it says `yield`, and None behind the last; it returns what is answered."""


class ClientGone(Unavailable):
    """The client ended the call before it was answered."""


class Caller:
    """Whoever waits for an answer, and perhaps is gone by now; safe to share between threads."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def leave(self) -> None:
        """Say that nobody waits any more."""
        self._gone.set()

    def check(self) -> None:
        """Raise ClientGone once nobody waits any more."""
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
    """Run a receiver on a client's stream, each of its steps in one of these threads, and return what it returns.

    A receiver may return before the last message: what the client still sends is not read.
    `start` is given a check that raises ClientGone once the call has ended: what it asked for must not happen any more.
    A receiver whose client goes is closed at the `yield` where it waits, or behind the step that runs.
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
    """Give a receiver a message; return how it ended, None where it waits for the next one."""
    try:
        receiver.send(message)
    except StopIteration as end:
        return _Ended(end.value)
    return None
