"""Refuses hopeless calls before their messages are read: under a flood, reading them takes the device's cores.

The model and priority of an unread call are unknown, and a call for another model or with a lower priority could go
first. So calls are refused unread only where all calls of the last minute were for one model with one priority, and one
call in a few is read all the same, to notice a change.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Hashable

from inference_service.errors import DeadlineExceeded

_SHORT_SECONDS = 0.05  # with a shorter wait nothing is gained
_ALONE_SECONDS = 60.0
_READ_EVERY = 32


class AdmissionControl:
    """Decides on unread calls; `wait_seconds` returns the latency of a row that comes now."""

    def __init__(self, wait_seconds: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._kind: Hashable = None
        self._other_kind_at = -math.inf
        self._calls = itertools.count(1)

    def note(self, kind: Hashable) -> None:
        """Note the model and priority of a request that was read."""
        if kind != self._kind:
            if self._kind is not None:
                self._other_kind_at = self._clock()
            self._kind = kind

    @property
    def is_guarded(self) -> bool:
        """Return whether calls must be checked."""
        return self._wait_seconds() > _SHORT_SECONDS and self._clock() - self._other_kind_at > _ALONE_SECONDS

    def check(self, seconds_left: float | None) -> None:
        """Raise DeadlineExceeded for a call whose deadline comes before its answer, except for one call in a few."""
        if seconds_left is None:
            return
        wait = self._wait_seconds()
        if seconds_left < wait and next(self._calls) % _READ_EVERY:
            raise DeadlineExceeded(
                f"the deadline is nearer than the {wait:.2f} s that what came before takes: send fewer, or wait longer"
            )
