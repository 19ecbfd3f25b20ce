"""The delay before a retry: doubled from a first delay up to a longest one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential delays in seconds."""

    first_seconds: float
    max_seconds: float

    def seconds(self, num_failures: int) -> float:
        """Return the delay after this many failures in a row, at least 1."""
        # The exponent is bounded: 2.0 ** 1100 overflows.
        return float(min(self.first_seconds * 2.0 ** min(num_failures - 1, 64), self.max_seconds))
