"""Many requests over one stream: run side by side, answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from inference_service.errors import NotReady

R = TypeVar("R")
A = TypeVar("A")


class Streams:
    """The streams of a server; up to `max_at_once` requests of each run at once."""

    def __init__(self, *, max_at_once: int) -> None:
        self._max_at_once = max_at_once
        self._readers: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Read no further request: every stream ends with the answers of those it has, and with NotReady."""
        for reader in self._readers:
            reader.cancel()

    async def answered(
        self, requests: AsyncIterator[R], answer: Callable[[R], Coroutine[Any, Any, A]]
    ) -> AsyncGenerator[A]:
        """Yield the answer of each request, in the order of the requests.

        An answer that waits for an earlier one counts among the running requests. An error of `answer` ends the stream.
        No task is left running when the stream ends.
        """
        running: set[asyncio.Task[A]] = set()
        in_order: asyncio.Queue[asyncio.Task[A] | None] = asyncio.Queue()
        room = asyncio.Semaphore(self._max_at_once)

        async def read() -> None:
            try:
                await room.acquire()
                async for request in requests:
                    task = asyncio.create_task(answer(request))
                    running.add(task)
                    in_order.put_nowait(task)
                    await room.acquire()
            finally:
                in_order.put_nowait(None)

        reader = asyncio.create_task(read())
        self._readers.add(reader)
        try:
            while (task := await in_order.get()) is not None:
                yield await task
                running.discard(task)
                room.release()
            await asyncio.wait([reader])
            if reader.cancelled():
                raise NotReady("the service is stopping: open another stream")
            reader.result()
        finally:
            self._readers.discard(reader)
            for each in (reader, *running):
                each.cancel()
            await asyncio.gather(reader, *running, return_exceptions=True)
