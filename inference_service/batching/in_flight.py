"""The batches that the device runs: one, and a second beside it where the first lets it, so that no core idles."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from functools import partial

Signal = Callable[[], object]
_MAX_BATCHES = 2


class InFlight:
    """Batches that run beside the event loop. `wants_next` is set while the device can take another one.

    Beside a running batch, it is set only while `is_worth_it` returns true, which is asked at every `update`. `failed`
    is called when a batch raises; `check` then raises the same error.
    """

    def __init__(self, failed: Callable[[], object], is_worth_it: Callable[[], bool] = lambda: True) -> None:
        self._is_worth_it = is_worth_it
        self.wants_next = asyncio.Event()
        self.wants_next.set()
        self._failed = failed
        self._failure: BaseException | None = None
        # By number, not by task: a reference to a task keeps its batch, and so the models, in memory.
        self._numbers = itertools.count()
        self._running: dict[int, tuple[asyncio.Task[None], float]] = {}  # with expected seconds, oldest first
        self._letting = -1  # number of the last batch that let another one begin beside it
        self._since = 0.0  # when the oldest batch got the device
        self._free_since = 0.0

    def __len__(self) -> int:
        return len(self._running)

    def free_at(self, allowance: float) -> float:
        """Return when a batch that comes now would get the device, by time.monotonic.

        `allowance` is how many times their expected seconds the running batches may take.
        """
        now = time.monotonic()
        if not self._running:
            return now
        return max(now, self._since + allowance * sum(seconds for _, seconds in self._running.values()))

    @property
    def late_share(self) -> float:
        """Return by which share of its expected seconds the oldest batch is overdue; 0 while it is not."""
        expected = next((seconds for _, seconds in self._running.values()), 0.0)
        taken = time.monotonic() - self._since
        return max(0.0, taken / expected - 1) if expected > 0 else 0.0

    def begin(self, run: Callable[[Signal], Coroutine[None, None, None]], expected_seconds: float) -> None:
        """Start the coroutine that runs a batch; any thread may call its signal, once another batch may begin."""
        self.wants_next.clear()
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        if not self._running:
            self._since = time.monotonic()
        task = loop.create_task(run(partial(loop.call_soon_threadsafe, self._let_next, number)))
        self._running[number] = task, expected_seconds
        task.add_done_callback(partial(self._end, number))

    def device_seconds(self, started: float, ended: float) -> float:
        """Return the device time of a batch; where two overlap, the overlap counts for the earlier one only.

        Both times are of one clock. Call it once for each batch, in the order in which they end.
        """
        seconds = max(0.0, ended - max(started, self._free_since))
        self._free_since = max(ended, self._free_since)
        return seconds

    def update(self) -> None:
        """Set `wants_next` if the device can take another batch now."""
        newest = next(reversed(self._running), None)
        lets_next = newest == self._letting and len(self._running) < _MAX_BATCHES
        if newest is None or (lets_next and self._is_worth_it()):
            self.wants_next.set()

    def check(self) -> None:
        """Raise the error of a batch that raised."""
        if self._failure is not None:
            raise self._failure

    def cancel(self) -> None:
        """Stop waiting for all batches."""
        for task, _ in self._running.values():
            task.cancel()

    def _let_next(self, number: int) -> None:
        self._letting = number
        self.update()

    def _end(self, number: int, task: asyncio.Task[None]) -> None:
        del self._running[number]
        self._since = time.monotonic()
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self.wants_next.set()  # its waiter must check, although another batch may run for long
            self._failed()
        self.update()
