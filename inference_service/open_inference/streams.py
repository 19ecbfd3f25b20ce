"""Many requests over one stream: run side by side, answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")
A = TypeVar("A")


async def answered(
    requests: AsyncIterator[R], answer: Callable[[R], Coroutine[Any, Any, A]], *, max_at_once: int
) -> AsyncGenerator[A]:
    """Yield the answer of each request, in the order of the requests.

    Up to `max_at_once` run at once, counting those whose answers wait for an earlier one's; further ones are not read.
    Whatever `answer` raises ends the stream. However this ends, nothing goes on running behind it.
    """
    tasks: set[asyncio.Task[A]] = set()
    in_order: asyncio.Queue[asyncio.Task[A] | None] = asyncio.Queue()
    room = asyncio.Semaphore(max_at_once)

    async def read() -> None:
        try:
            await room.acquire()
            async for request in requests:
                task = asyncio.create_task(answer(request))
                tasks.add(task)
                in_order.put_nowait(task)
                await room.acquire()
        finally:
            in_order.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (task := await in_order.get()) is not None:
            yield await task
            tasks.discard(task)
            room.release()
        await reading
    finally:
        for each in (reading, *tasks):
            each.cancel()
        await asyncio.gather(reading, *tasks, return_exceptions=True)
