"""A scheduler on a device that the tests hold and let go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.latency_model import LatencyModel
from inference_service.batching.queue_capacity import CostLimits
from inference_service.batching.queue_entry import Part
from inference_service.batching.scheduler import Scheduler
from inference_service.errors import DeviceFailed, OutOfDeviceMemory

KIND = "rows"
Range = tuple[str, int, int]
Asked = asyncio.Task[list[Range]]


class Device:
    """Echoes what it is given; while `free` is not set a batch stays on it. Fails batches with the work `broken`.

    Its memory holds `memory_rows`; the work `fatal` breaks it for good. By its own `clock` a row takes a tenth of a
    millisecond times its cost, by `row_costs`, however busy this machine is: how batches are formed depends on what was
    learnt of them.
    """

    def __init__(self) -> None:
        self.memory_rows = 1000
        self.row_costs: defaultdict[str, int] = defaultdict(lambda: 1)
        self._seconds = 0.0
        self.batches: list[list[Range]] = []
        self.threads: list[int] = []
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()

    def clock(self) -> float:
        return self._seconds

    def run(self, parts: Sequence[Part[str]], _: object = None) -> list[Range]:
        self.busy.set()
        assert self.free.wait(10)
        self._seconds += 1e-4 * sum(part.num_rows * self.row_costs[part.work] for part in parts)
        ranges = [(part.work, part.start, part.stop) for part in parts]
        self.batches.append(ranges)
        self.threads.append(threading.get_ident())
        if any(part.work == "broken" for part in parts):
            raise ZeroDivisionError
        if any(part.work == "fatal" for part in parts):
            raise DeviceFailed("gone")
        if sum(part.num_rows for part in parts) > self.memory_rows:
            raise OutOfDeviceMemory("no memory")
        return ranges


class Letting:
    """A device that lets a batch begin beside each, and holds those of the work `held`."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.has_begun = asyncio.Event()
        self.free = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._signals: list[Callable[[], object]] | None = None

    def keep_signals(self) -> list[Callable[[], object]]:
        """Keep what lets the next batch begin, of each from now on, and let none."""
        self._signals = []
        return self._signals

    def run(self, parts: Sequence[Part[str]], wants_next: Callable[[], object] | None) -> list[Range]:
        self.begun.append(parts[0].work)
        if wants_next is not None:
            (wants_next if self._signals is None else partial(self._signals.append, wants_next))()
        self._loop.call_soon_threadsafe(self.has_begun.set)
        assert parts[0].work != "held" or self.free.wait(10)
        return [(part.work, part.start, part.stop) for part in parts]


class Stage:
    """The stage that the works of one queue begin with."""


class Setup:
    """A scheduler on such a device; works that begin with B begin with another stage than the others."""

    def __init__(self, thread: DeviceThreads, max_batch_cost: int, max_queue_cost: int, **more: float) -> None:
        self.device = Device()
        self.stages: defaultdict[str, Stage] = defaultdict(Stage)
        self.scheduler = Scheduler[str, Range](
            self.device.run,
            thread,
            {KIND: CostLimits(max_batch_cost, max_queue_cost)},
            clock=self.device.clock,
            **more,
        )

    def stage(self, work: str = "") -> Stage:
        return self.stages["B" if work.startswith("B") else ""]

    def latency(self, work: str = "") -> LatencyModel:
        return self.scheduler.history(KIND, self.stage(work)).latency

    async def ask(
        self,
        work: str,
        num_rows: int,
        seconds: float | None = None,
        model: str = "model",
        priority: int = 100,
        row_cost: int = 1,
    ) -> list[Range]:
        """Ask for rows of a form of their own for each cost."""
        self.device.row_costs[work] = row_cost
        deadline = None if seconds is None else time.monotonic() + seconds
        with self.scheduler.admit(KIND, self.stage(work), num_rows, model, deadline, priority) as entry:
            return await self.scheduler.answer(entry, work, form=row_cost, row_cost=row_cost)

    async def occupy(self) -> asyncio.Task[list[Range]]:
        """Keep the device busy with one row until it is let free."""
        self.device.free.clear()
        self.device.busy.clear()
        task = asyncio.create_task(self.ask("first", 1))
        assert await asyncio.to_thread(self.device.busy.wait, 10)
        return task

    async def start(self, work: str, num_rows: int, seconds: float | None = None, **more: Any) -> Asked:
        """Start a request and let it reach the queue."""
        task = asyncio.create_task(self.ask(work, num_rows, seconds, **more))
        await asyncio.sleep(0)
        return task


@asynccontextmanager
async def running(
    max_batch_cost: int = 4, max_queue_cost: int = 10, num_batches: int = 1, **more: float
) -> AsyncIterator[Setup]:
    """Serve the queue while the block runs."""
    with DeviceThreads(1, num_batches) as thread:
        setup = Setup(thread, max_batch_cost, max_queue_cost, **more)
        serving = asyncio.create_task(setup.scheduler.run())
        try:
            yield setup
        finally:
            setup.device.free.set()
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
