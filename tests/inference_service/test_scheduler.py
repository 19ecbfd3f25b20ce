"""The queue in front of the device, with a device that the tests hold and let go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import pytest

from inference_service.errors import DeadlineExceeded, QueueFull
from inference_service.scheduler import Part, Scheduler
from tests.inference_service.loops import on_a_loop

Range = tuple[str, int, int]


class Device:
    """Echoes what it is given; while `free` is not set a batch stays on it. Fails batches with the work `broken`."""

    def __init__(self) -> None:
        self.batches: list[list[Range]] = []
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()

    def run(self, parts: Sequence[Part[str]]) -> list[Range]:
        self.busy.set()
        assert self.free.wait(10)
        ranges = [(part.work, part.start, part.stop) for part in parts]
        self.batches.append(ranges)
        if any(part.work == "broken" for part in parts):
            raise ZeroDivisionError
        return ranges


class Setup:
    """A scheduler on such a device."""

    def __init__(self, thread: ThreadPoolExecutor, max_batch_rows: int, max_queue_rows: int) -> None:
        self.device = Device()
        self.scheduler = Scheduler[str, Range](
            self.device.run, thread, max_batch_rows=max_batch_rows, max_queue_rows=max_queue_rows
        )

    async def ask(self, work: str, num_rows: int, seconds: float | None = None) -> list[Range]:
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        with self.scheduler.admit(num_rows, deadline) as place:
            return await self.scheduler.answer(place, work)

    async def occupy(self) -> asyncio.Task[list[Range]]:
        """Keep the device busy with one row until it is let free."""
        self.device.free.clear()
        self.device.busy.clear()
        task = asyncio.create_task(self.ask("first", 1))
        assert await asyncio.to_thread(self.device.busy.wait, 10)
        return task

    async def queue(self, work: str, num_rows: int, seconds: float | None = None) -> asyncio.Task[list[Range]]:
        """Start a request and let it reach the queue."""
        task = asyncio.create_task(self.ask(work, num_rows, seconds))
        await asyncio.sleep(0)
        return task


@asynccontextmanager
async def running(max_batch_rows: int = 4, max_queue_rows: int = 10) -> AsyncIterator[Setup]:
    """Serve the queue while the block runs."""
    with ThreadPoolExecutor(1) as thread:
        setup = Setup(thread, max_batch_rows, max_queue_rows)
        serving = asyncio.create_task(setup.scheduler.run())
        try:
            yield setup
        finally:
            setup.device.free.set()
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


@on_a_loop
async def test_a_request_runs_at_once_on_a_free_device() -> None:
    """Nothing waits for company."""
    async with running() as setup:
        assert await setup.ask("a", 2) == [("a", 0, 2)]
        assert setup.device.batches == [[("a", 0, 2)]]


@on_a_loop
async def test_what_waits_runs_together_in_order_and_is_counted_in_rows() -> None:
    """A batch takes the oldest rows up to its limit, and the rest of a request goes into the next one."""
    async with running(max_batch_rows=4) as setup:
        first = await setup.occupy()
        waiting = [await setup.queue("a", 3), await setup.queue("b", 3), await setup.queue("c", 1)]
        setup.device.free.set()
        answers = await asyncio.gather(first, *waiting)
    assert answers[1:] == [[("a", 0, 3)], [("b", 0, 1), ("b", 1, 3)], [("c", 0, 1)]]
    assert setup.device.batches == [[("first", 0, 1)], [("a", 0, 3), ("b", 0, 1)], [("b", 1, 3), ("c", 0, 1)]]
    assert setup.scheduler.num_waiting_rows == 0
    assert (setup.scheduler.counters.num_batches, setup.scheduler.counters.num_rows) == (3, 8)


@on_a_loop
async def test_a_request_larger_than_a_batch_is_split() -> None:
    """Its parts are answered in order, across batches."""
    async with running(max_batch_rows=4) as setup:
        assert await setup.ask("a", 10) == [("a", 0, 4), ("a", 4, 8), ("a", 8, 10)]


@on_a_loop
async def test_a_full_queue_refuses_at_once() -> None:
    """Rows that wait or are being prepared count; those on the device do not."""
    async with running(max_queue_rows=4) as setup:
        first = await setup.occupy()
        with setup.scheduler.admit(3):
            with pytest.raises(QueueFull, match="3 rows wait already"):
                await setup.ask("b", 2)
            fits = await setup.queue("c", 1)
        setup.device.free.set()
        await asyncio.gather(first, fits)
        assert await setup.ask("d", 4) == [("d", 0, 4)]
        assert setup.scheduler.counters.num_refused == 1


@on_a_loop
async def test_an_expired_request_never_reaches_the_device() -> None:
    """It is answered DeadlineExceeded when the next batch is formed, and counted."""
    async with running() as setup:
        first = await setup.occupy()
        expired = await setup.queue("a", 3, seconds=0.0)
        in_time = await setup.queue("b", 1, seconds=60.0)
        setup.device.free.set()
        with pytest.raises(DeadlineExceeded):
            await expired
        await asyncio.gather(first, in_time)
        assert setup.device.batches[1:] == [[("b", 0, 1)]]
        assert setup.scheduler.counters.num_expired == 1
        assert setup.scheduler.num_waiting_rows == 0


@on_a_loop
async def test_a_cancelled_request_never_reaches_the_device() -> None:
    """Its room is free at once, and it is dropped and counted when the next batch is formed."""
    async with running() as setup:
        first = await setup.occupy()
        left = await setup.queue("a", 3)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert setup.scheduler.num_waiting_rows == 0
        stayed = await setup.queue("b", 1)
        setup.device.free.set()
        await asyncio.gather(first, stayed)
        assert setup.device.batches[1:] == [[("b", 0, 1)]]
        assert setup.scheduler.counters.num_cancelled == 1


@on_a_loop
async def test_a_failed_batch_fails_only_its_own_requests() -> None:
    """Requests that ran beside the fault fail with it, the rest of a split one is dropped, and the next batch runs."""
    async with running(max_batch_rows=4) as setup:
        first = await setup.occupy()
        broken = await setup.queue("broken", 2)
        split = await setup.queue("a", 4)
        later = await setup.queue("b", 1)
        setup.device.free.set()
        assert await first == [("first", 0, 1)]
        for failing in (broken, split):
            with pytest.raises(ZeroDivisionError):
                await failing
        assert await later == [("b", 0, 1)]
        assert setup.device.batches[1:] == [[("broken", 0, 2), ("a", 0, 2)], [("b", 0, 1)]]
        assert setup.scheduler.num_waiting_rows == 0


@on_a_loop
async def test_room_is_given_back_where_preparing_fails() -> None:
    """A request whose images cannot be decoded leaves the queue as it was."""
    async with running(max_queue_rows=4) as setup:
        with suppress(ValueError), setup.scheduler.admit(4):
            raise ValueError
        assert setup.scheduler.num_waiting_rows == 0
        assert await setup.ask("a", 4) == [("a", 0, 4)]
