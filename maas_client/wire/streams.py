"""Streams of responses, read in a thread of their own, so that Ctrl-C ends them.

Python raises KeyboardInterrupt wherever the main thread is. In the middle of one of gRPC's streams that can leave a
lock held, or an operation begun of which gRPC knows nothing: closing the channel then waits for ever, or the process
crashes. So did about one in a hundred streams that were interrupted at random; of 4,000 plain calls none did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from maas_client.wire.signals import take

T = TypeVar("T")
_Outcome = tuple[Any, BaseException | None]


class OtherThread:
    """Runs calls, one at a time, in a thread that no signal interrupts; on leaving it the thread ends with its call.

    Where the caller is interrupted while it waits, what the call returns is thrown away.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[_Outcome] = SimpleQueue()

    def __enter__(self) -> Self:
        threading.Thread(target=_run_all, args=(self._calls, self._outcomes), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)

    def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise what it raises."""
        self._calls.put(call)
        value, error = take(self._outcomes)
        if error is not None:
            raise error
        return value


def responses(call: Callable[[], Any]) -> Iterator[Any]:
    """Yield the responses of the stream that a call begins; it is cancelled where the reader leaves before its end."""
    with OtherThread() as thread:
        stream = thread.run(call)
        try:
            yield from read(stream, thread)
        finally:
            stream.cancel()


def read(stream: Iterator[T], thread: OtherThread) -> Iterator[T]:
    """Yield what is left of a stream, each taken in that thread."""
    while (response := thread.run(lambda: next(stream, None))) is not None:
        yield response


def _run_all(calls: SimpleQueue[Callable[[], Any] | None], outcomes: SimpleQueue[_Outcome]) -> None:
    while (call := calls.get()) is not None:
        try:
            outcomes.put((call(), None))
        except Exception as error:  # noqa: BLE001  it is raised again where the outcome is awaited
            outcomes.put((None, error))
