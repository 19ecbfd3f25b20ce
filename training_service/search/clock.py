"""The time that a search may take: its limit, less what earlier attempts took, and the reserve for its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_SHARE_OF_END, _SHARE_OF_GATE = 0.02, 0.1
"""Of the limit, for publishing the best trial's version, and for measuring it beside another one."""


@dataclass(frozen=True)
class SearchClock:
    """A clock from `started`, on which trials must have ended after `seconds`; infinite without a limit."""

    started: float
    seconds: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(
        cls, limit: float | None, spent: float, *, is_gated: bool, clock: Callable[[], float] = time.monotonic
    ) -> SearchClock:
        """Return the clock of a search with this limit, of which this many seconds are spent."""
        if limit is None:
            return cls(clock() - spent, math.inf, clock)
        reserve = limit * (_SHARE_OF_GATE if is_gated else _SHARE_OF_END)
        return cls(clock() - spent, limit - reserve, clock)

    @property
    def seconds_spent(self) -> float:
        """Seconds since the start of the search, without its pauses."""
        return self.clock() - self.started

    @property
    def seconds_left(self) -> float:
        """Seconds that are left to trials; negative when they are over."""
        return self.seconds - self.seconds_spent
