"""What a loaded version was asked, and how long that took; every number has one writer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Duration:
    """How often something happened, and how many nanoseconds that took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count it."""
        self.count += count
        self.ns += ns


@dataclass
class VersionStatistics:
    """Counts since the version was loaded; its warm-up is not among them.

    The event loop writes `succeeded`, `failed`, `prepared` and what concerns the cache, the executor all others.
    `queued` is from when a request's rows were ready until the device took the first of them, `computed` the time
    on the device of the batches that a request was in: whole batches, whomever they were shared with. `batches` has
    those times by the number of the version's rows in a batch. Looking an answer up ends in a `cache_hit` or a
    `cache_miss`; there are neither without a response cache.
    """

    succeeded: Duration = field(default_factory=Duration)
    failed: Duration = field(default_factory=Duration)
    prepared: Duration = field(default_factory=Duration)
    last_request_ms: int = 0
    queued: Duration = field(default_factory=Duration)
    computed: Duration = field(default_factory=Duration)
    num_rows: int = 0
    batches: dict[int, Duration] = field(default_factory=dict)
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)

    @property
    def num_batches(self) -> int:
        """Batches that had rows of this version."""
        return sum(each.count for each in self.batches.copy().values())

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request, from here to its end, among those that succeeded or failed."""
        started = time.perf_counter_ns()
        self.last_request_ms = time.time_ns() // 1_000_000
        outcome = self.failed
        try:
            yield
            outcome = self.succeeded
        finally:
            outcome.add(time.perf_counter_ns() - started)

    def add_batch(self, num_rows: int, ns: int) -> None:
        """Count a batch that had so many rows of this version."""
        self.num_rows += num_rows
        self.batches.setdefault(num_rows, Duration()).add(ns)
