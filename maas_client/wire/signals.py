"""Waiting in the main thread for what another thread, or a signal's handler, puts into a queue."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
_LOOK_UP_SECONDS = 0.2


def take(queue: SimpleQueue[T]) -> T:
    """Return what comes next, while Ctrl-C and the handlers of signals go on working.

    A SimpleQueue has no lock in Python: the wait can be left anywhere, and a handler may put something into the queue
    that it interrupts. The wait looks up now and then, as gRPC's does, since a signal that comes just before it begins
    does not wake it.
    """
    while True:
        with suppress(Empty):
            return queue.get(timeout=_LOOK_UP_SECONDS)
