"""Keeps calls out unread that a flood leaves no time for: reading what is refused in the end takes the device's cores.

Of a call that is not read nobody knows what it asks for, and one for another model, or a more urgent one, would go
first. So none is kept out but while everything that was read for a while was of one kind, and then one in a few is read
all the same, to find out.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Hashable

from inference_service.errors import DeadlineExceeded

_SHORT_SECONDS = 0.05  # below this wait nothing is gained
_ALONE_SECONDS = 60.0
_READ_EVERY = 32


class AdmissionControl:
    """Knows what was asked for lately; `wait_seconds` is how long a row takes that comes now and has so long."""

    def __init__(self, wait_seconds: Callable[[float], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._kind: Hashable = None
        self._other_kind_at = -math.inf
        self._calls = itertools.count(1)

    def note(self, kind: Hashable) -> None:
        """Take note of a request that was read: `kind` is its model and its priority."""
        if kind != self._kind:
            if self._kind is not None:
                self._other_kind_at = self._clock()
            self._kind = kind

    @property
    def is_guarded(self) -> bool:
        """Say whether calls are to be checked."""
        return self._wait_seconds(0.0) > _SHORT_SECONDS and self._clock() - self._other_kind_at > _ALONE_SECONDS

    def check(self, seconds_left: float | None) -> None:
        """Raise DeadlineExceeded for a call whose deadline is nearer than its answer, but for a few."""
        if seconds_left is None:
            return
        wait = self._wait_seconds(seconds_left)
        if seconds_left < wait and next(self._calls) % _READ_EVERY:
            raise DeadlineExceeded(
                f"the deadline is nearer than the {wait:.2f} s that what came before takes: send fewer, or wait longer"
            )
