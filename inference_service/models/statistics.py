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

    def add(self, ns: int) -> None:
        """Count it."""
        self.count += 1
        self.ns += ns


@dataclass
class RequestTimes:
    """What one request took so far, in nanoseconds: its way through the pipeline writes it, and nobody else reads it.

    `device_done_ns` is when its last batch had run, by time.perf_counter_ns. `cache_ns` is the time that the response
    cache took, None without one.
    """

    prepare_ns: int = 0
    queue_ns: int = 0
    device_ns: int = 0
    device_done_ns: int = 0
    cache_ns: int | None = None
    is_cached: bool = False


@dataclass
class VersionStatistics:
    """Counts since the version was loaded; its warm-up is not among them.

    All that concerns a request is counted at one moment, when it is answered, on the event loop: counts of an instant
    fit together. Every request that `succeeded` was `queued`, and one that the response cache did not answer was
    `prepared`, `computed` and `written` too. `queued` is from when a request's rows were ready until the device took
    the first of them, `computed` the time on the device of the batches that a request was in: whole batches, whomever
    they were shared with. `written` is from there to its answer. Looking an answer up ends in a `cache_hit` or a
    `cache_miss`; there are neither without a response cache. `num_rows` are those of requests that the device answered,
    and of shadow traffic.

    The executor writes `batches`: times on the device by the number of the version's rows in a batch.
    """

    succeeded: Duration = field(default_factory=Duration)
    failed: Duration = field(default_factory=Duration)
    queued: Duration = field(default_factory=Duration)
    prepared: Duration = field(default_factory=Duration)
    computed: Duration = field(default_factory=Duration)
    written: Duration = field(default_factory=Duration)
    cache_hit: Duration = field(default_factory=Duration)
    cache_miss: Duration = field(default_factory=Duration)
    last_request_ms: int = 0
    num_rows: int = 0
    batches: dict[int, Duration] = field(default_factory=dict)

    @property
    def num_batches(self) -> int:
        """Batches that had rows of this version."""
        return sum(each.count for each in self.batches.copy().values())

    @contextmanager
    def request(self, num_rows: int) -> Iterator[RequestTimes]:
        """Count one request of so many rows, from here to its end, among those that succeeded or failed."""
        started = time.perf_counter_ns()
        self.last_request_ms = time.time_ns() // 1_000_000
        times = RequestTimes()
        is_answered = False
        try:
            yield times
            is_answered = True
        finally:
            ended = time.perf_counter_ns()
            if is_answered:
                self._add(times, num_rows, started, ended)
            else:
                self.failed.add(ended - started)

    def add_batch(self, num_rows: int, ns: int) -> None:
        """Count a batch that had so many rows of this version."""
        self.batches.setdefault(num_rows, Duration()).add(ns)

    def _add(self, times: RequestTimes, num_rows: int, started: int, ended: int) -> None:
        self.succeeded.add(ended - started)
        self.queued.add(times.queue_ns)
        if times.cache_ns is not None:
            (self.cache_hit if times.is_cached else self.cache_miss).add(times.cache_ns)
        if not times.is_cached:
            self.prepared.add(times.prepare_ns)
            self.computed.add(times.device_ns)
            self.written.add(ended - times.device_done_ns)
            self.num_rows += num_rows
