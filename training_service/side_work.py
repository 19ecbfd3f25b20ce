"""Work that a caller waits for and that takes long: in threads, a few at once, and gone when the caller is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from model_store.errors import StoreError
from training_service.streams import ClientGone

Message = TypeVar("Message")


class TooMuchWork(StoreError):
    """As many callers are being worked for as the operator allows."""


class Caller(Generic[Message]):
    """Whoever waits for some work: told how far it is, and perhaps gone by now."""

    def __init__(self, tell: Callable[[Message], object]) -> None:
        self.tell = tell
        self._gone = threading.Event()

    def leave(self) -> None:
        """Say that nobody waits any more."""
        self._gone.set()

    def check(self) -> None:
        """Raise ClientGone once nobody waits any more."""
        if self._gone.is_set():
            raise ClientGone("the client has ended the call")


class SideWork:
    """Runs work in up to `most` threads; what comes beyond that is refused, as it would wait for minutes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = threading.Semaphore(most)
        self._threads = ThreadPoolExecutor(most, "side-work")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()

    async def run(self, work: Callable[[Caller[Message]], Message]) -> AsyncIterator[Message]:
        """Yield what the work tells its caller, then what it returns; raise what it raises, or TooMuchWork.

        When the caller goes, the work is told so at its next `check`, and keeps its place until then.
        """
        if not self._free.acquire(blocking=False):
            raise TooMuchWork(f"{self._most} evaluations or reports are under way already: try again in a while")
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Message | None]()
        caller: Caller[Message] = Caller(lambda message: loop.call_soon_threadsafe(told.put_nowait, message))
        result = loop.run_in_executor(self._threads, self._work, work, caller)

        def end(done: asyncio.Future[Message]) -> None:
            told.put_nowait(None)
            if not done.cancelled():
                done.exception()  # looked at here, as nobody may be left to raise it to

        result.add_done_callback(end)
        try:
            while (message := await told.get()) is not None:
                yield message
            yield await result
        finally:
            caller.leave()

    def _work(self, work: Callable[[Caller[Message]], Message], caller: Caller[Message]) -> Message:
        try:
            return work(caller)
        finally:
            self._free.release()
