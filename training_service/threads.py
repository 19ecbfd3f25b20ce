"""Threads for blocking calls, in pools by the resource that they wait for: slow objects and writers delay no reader."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from model_store.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")


class Busy(StoreError):
    """As much waits for something already as may wait for it."""


class Threads:
    """A few threads and a bounded queue for them; calls beyond both are refused at once."""

    def __init__(self, name: str, num_threads: int, *, max_waiting: int) -> None:
        self._name = name
        self._executor = ThreadPoolExecutor(num_threads, name)
        self._places = threading.Semaphore(num_threads + max_waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the work; raise Busy, or the error of the work.

        Queued work whose caller has gone is never begun.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(f"too many calls wait for the service's {self._name} threads: try again in a moment")
        result = self._executor.submit(partial(work, *args, **kwargs))
        result.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(result)


@dataclass(frozen=True)
class CallThreads:
    """The threads that answer calls.

    `reads` wait for the database, `writes` for its one writer at a time, `slow` for the object store and for pictures,
    `uploads` for the disk: for each message of a client, and for the import of the whole upload.
    """

    reads: Threads
    writes: Threads
    slow: Threads
    uploads: Executor


@contextmanager
def call_threads(max_uploads: int) -> Iterator[CallThreads]:
    """Start the threads that answer calls, for the length of a block."""
    with (
        ThreadPoolExecutor(max_uploads, "upload") as uploads,
        Threads("read", 8, max_waiting=1000) as reads,
        Threads("write", 4, max_waiting=200) as writes,
        Threads("slow", 8, max_waiting=200) as slow,
    ):
        yield CallThreads(reads, writes, slow, uploads)
