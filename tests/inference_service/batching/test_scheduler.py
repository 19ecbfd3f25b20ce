"""The queue in front of the device, with a device that the tests hold and let go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.queues import Lane, Part, Place
from inference_service.batching.scheduler import DEFAULT_PRIORITY, Scheduler
from inference_service.errors import DeadlineExceeded, DeviceFailed, OutOfDeviceMemory, QueueFull, Stopping
from tests.inference_service.loops import on_a_loop

Range = tuple[str, int, int]
Asked = asyncio.Task[list[Range]]


class Device:
    """Echoes what it is given; while `free` is not set a batch stays on it. Fails batches with the work `broken`.

    Its memory holds `memory_rows`; the work `fatal` breaks it for good. By its own `clock` every row takes a tenth of a
    millisecond, however busy this machine is: how batches are formed depends on what was learnt of them.
    """

    def __init__(self) -> None:
        self.memory_rows = 1000
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
        self._seconds += 1e-4 * sum(part.num_rows for part in parts)
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


class Tree:
    """What the works of one lane begin with."""


class Setup:
    """A scheduler on such a device; works of one first letter are in one lane."""

    def __init__(self, thread: DeviceThreads, max_batch_rows: int, max_queue_rows: int, **more: float) -> None:
        self.device = Device()
        self.trees: defaultdict[str, Tree] = defaultdict(Tree)
        self.scheduler = Scheduler[str, Range](
            self.device.run,
            thread,
            lane_of=lambda work: self.trees["B" if work.startswith("B") else ""],
            max_batch_rows=max_batch_rows,
            max_queue_rows=max_queue_rows,
            clock=self.device.clock,
            **more,
        )

    async def ask(
        self, work: str, num_rows: int, seconds: float | None = None, flow: str = "model", priority: int = 100
    ) -> list[Range]:
        deadline = None if seconds is None else time.monotonic() + seconds
        with self.scheduler.admit(num_rows, flow, deadline, priority) as place:
            return await self.scheduler.answer(place, work)

    async def occupy(self) -> asyncio.Task[list[Range]]:
        """Keep the device busy with one row until it is let free."""
        self.device.free.clear()
        self.device.busy.clear()
        task = asyncio.create_task(self.ask("first", 1))
        assert await asyncio.to_thread(self.device.busy.wait, 10)
        return task

    async def queue(self, work: str, num_rows: int, seconds: float | None = None, **more: Any) -> Asked:
        """Start a request and let it reach the queue."""
        task = asyncio.create_task(self.ask(work, num_rows, seconds, **more))
        await asyncio.sleep(0)
        return task


@asynccontextmanager
async def running(
    max_batch_rows: int = 4, max_queue_rows: int = 10, num_batches: int = 1, **more: float
) -> AsyncIterator[Setup]:
    """Serve the queue while the block runs."""
    with DeviceThreads(1, num_batches) as thread:
        setup = Setup(thread, max_batch_rows, max_queue_rows, **more)
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
        with setup.scheduler.admit(3, "model"):
            with pytest.raises(QueueFull, match="3 of 4 rows wait already"):
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
        with suppress(ValueError), setup.scheduler.admit(4, "model"):
            raise ValueError
        assert setup.scheduler.num_waiting_rows == 0
        assert await setup.ask("a", 4) == [("a", 0, 4)]


@on_a_loop
async def test_models_share_every_batch_evenly() -> None:
    """One model's flood leaves another's trickle its share, whoever came first."""
    async with running(max_batch_rows=4, max_queue_rows=100) as setup:
        first = await setup.occupy()
        flood = [await setup.queue(f"a{index}", 2, flow="flood") for index in range(6)]
        trickle = [await setup.queue(f"t{index}", 1, flow="trickle") for index in range(2)]
        setup.device.free.set()
        await asyncio.gather(first, *flood, *trickle)
    assert setup.device.batches[1:3] == [
        [("a0", 0, 2), ("t0", 0, 1), ("t1", 0, 1)],
        [("a1", 0, 2), ("a2", 0, 2)],
    ]


@on_a_loop
async def test_a_flood_leaves_room_in_the_queue() -> None:
    """No model takes all of the room: a request for another still gets in."""
    async with running(max_batch_rows=1, max_queue_rows=10) as setup:
        first = await setup.occupy()
        flood = [await setup.queue("a", 1, flow="flood") for _ in range(10)]
        refused = [each for each in flood if each.done()]
        assert 0 < len(refused) < 5
        for each in refused:
            with pytest.raises(QueueFull, match="for this model"):
                await each
        other = await setup.queue("t", 1, flow="other")
        assert not other.done()
        setup.device.free.set()
        await asyncio.gather(first, other, *(each for each in flood if each not in refused))


@on_a_loop
async def test_lanes_take_turns_by_the_time_they_had() -> None:
    """Rows that cannot run together are not mixed, and neither lane waits until the other is empty."""
    async with running(max_batch_rows=2, max_queue_rows=100) as setup:
        first = await setup.occupy()
        waiting = [await setup.queue(work, 2) for work in ("a1", "a2", "a3", "B1", "B2")]
        setup.device.free.set()
        await asyncio.gather(first, *waiting)
    lanes = ["B" if batch[0][0].startswith("B") else "a" for batch in setup.device.batches[1:]]
    assert sorted(lanes) == ["B", "B", "a", "a", "a"]
    assert "B" in lanes[:2]


@on_a_loop
async def test_the_lowest_priority_goes_first() -> None:
    """Within a lane and between lanes."""
    async with running(max_batch_rows=2, max_queue_rows=100) as setup:
        first = await setup.occupy()
        waiting = [
            await setup.queue("a", 2),
            await setup.queue("b", 2, priority=1),
            await setup.queue("B", 2, priority=2),
        ]
        setup.device.free.set()
        await asyncio.gather(first, *waiting)
    assert [batch[0][0] for batch in setup.device.batches[1:]] == ["b", "B", "a"]


@on_a_loop
async def test_a_batch_too_large_for_the_memory_is_run_in_halves() -> None:
    """Every row is answered, and the next batches are no larger than what was seen to fit."""
    async with running(max_batch_rows=8, max_queue_rows=100) as setup:
        setup.device.memory_rows = 3
        first = await setup.occupy()
        waiting = [await setup.queue("a", 5), await setup.queue("b", 3)]
        setup.device.free.set()
        answers = await asyncio.gather(first, *waiting)
        assert [row for work, start, stop in answers[1] for row in range(start, stop)] == list(range(5))
        assert sum(stop - start for _, start, stop in answers[2]) == 3
        assert setup.scheduler.counters.num_splits
        seen = len(setup.device.batches)
        await setup.ask("c", 8)
        assert all(sum(stop - start for _, start, stop in batch) <= 4 for batch in setup.device.batches[seen:])
        setup.device.memory_rows = 0
        with pytest.raises(OutOfDeviceMemory):
            await setup.ask("d", 1)
        assert setup.scheduler.num_waiting_rows == 0


@on_a_loop
async def test_a_short_batch_runs_on_the_event_loop_once_it_is_known_to_be_short() -> None:
    """What it raises fails its requests alone."""
    async with running(short_seconds=10.0) as setup:
        for work in ("a", "b", "c"):
            await setup.ask(work, 1)
        with pytest.raises(ZeroDivisionError):
            await setup.ask("broken", 1)
        await setup.ask("d", 1)
        first, *others = setup.device.threads
        assert first != threading.get_ident()
        assert set(others) == {threading.get_ident()}


@on_a_loop
async def test_a_short_batch_waits_for_a_busy_device() -> None:
    """In the queue of the device's thread, while the event loop goes on."""
    async with running(short_seconds=10.0) as setup:
        await setup.ask("a", 1)
        holding, free = threading.Event(), threading.Event()
        held = setup.scheduler._device_threads.submit(lambda: (holding.set(), free.wait(10)))
        assert holding.wait(10)
        task = await setup.queue("b", 1)
        while setup.scheduler.num_waiting_rows:  # noqa: ASYNC110  nobody announces it
            await asyncio.sleep(0)
        assert not task.done()
        free.set()
        assert await task == [("b", 0, 1)]
        assert held.result()[1]
        assert threading.get_ident() not in setup.device.threads


class Letting:
    """A device that lets a batch begin beside each, and holds those of the work `held`."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.has_begun = asyncio.Event()
        self.free = threading.Event()
        self._loop = asyncio.get_running_loop()

    def run(self, parts: Sequence[Part[str]], wants_next: Callable[[], object] | None) -> list[Range]:
        self.begun.append(parts[0].work)
        if wants_next is not None:
            wants_next()
        self._loop.call_soon_threadsafe(self.has_begun.set)
        assert parts[0].work != "held" or self.free.wait(10)
        return [(part.work, part.start, part.stop) for part in parts]


@pytest.mark.parametrize("seconds", [0.001, 10.0])
@on_a_loop
async def test_a_batch_begins_beside_a_long_one_that_lets_it(seconds: float) -> None:
    """A short one is waited for all the same, so that the next one is larger."""
    async with running(num_batches=2) as setup:
        device = Letting()
        setup.scheduler._run_batch = device.run
        setup.scheduler._lane("").latency.add(1, seconds)
        held = await setup.queue("held", 1)
        await device.has_begun.wait()
        others = [await setup.queue(f"other {number}", 1) for number in range(3)]
        for _ in range(200):  # rounds of the event loop, many more than a batch needs to be formed
            await asyncio.sleep(0)
        assert device.begun == ["held"], "three rows are too few to begin beside another batch"
        others.append(await setup.queue("other 3", 1))
        if seconds > 1:
            assert await others[0] == [("other 0", 0, 1)]
            assert not held.done()
        else:
            for _ in range(200):
                await asyncio.sleep(0)
            assert device.begun == ["held"]
        device.free.set()
        assert await asyncio.gather(held, *others) == [
            [(work, 0, 1)] for work in ("held", *map("other {}".format, range(4)))
        ]


@on_a_loop
async def test_a_device_that_fails_for_good_ends_the_scheduler() -> None:
    """The request fails, and so does `run`: the service has to start anew."""
    with DeviceThreads(1) as thread:
        setup = Setup(thread, 4, 10)
        serving = asyncio.create_task(setup.scheduler.run())
        with pytest.raises(DeviceFailed):
            await setup.ask("fatal", 1)
        with pytest.raises(DeviceFailed):
            await serving


@on_a_loop
async def test_no_request_is_without_an_answer_when_the_device_fails() -> None:
    """Neither one in another batch, nor one that waits, nor one whose rows are being prepared, nor a later one."""
    with DeviceThreads(1, 2) as thread:
        setup = Setup(thread, 1, 10)
        device = Failing()
        setup.scheduler._run_batch = device.run
        setup.scheduler._lane("").latency.add(1, 10.0)
        serving = asyncio.create_task(setup.scheduler.run())
        with setup.scheduler.admit(1, "model") as preparing:
            held = await setup.queue("held", 1)
            await device.has_begun.wait()
            waiting = [await setup.queue(work, 1) for work in ("fatal", "a", "b", "c", "d")]
            for each in waiting:
                with pytest.raises(DeviceFailed, match="gone"):
                    await asyncio.wait_for(each, 10)
            assert not device.free.is_set()
            with pytest.raises(DeviceFailed, match="gone"):
                await asyncio.wait_for(held, 10)
            with pytest.raises(DeviceFailed, match="gone"):
                await asyncio.wait_for(setup.scheduler.answer(preparing, "late"), 10)
        with pytest.raises(DeviceFailed, match="gone"):
            await setup.ask("later", 1)
        device.free.set()
        with pytest.raises(DeviceFailed):
            await serving


class Failing(Letting):
    """Such a device, which the work `fatal` breaks for good."""

    def run(self, parts: Sequence[Part[str]], wants_next: Callable[[], object] | None) -> list[Range]:
        answers = super().run(parts, wants_next)
        if any(part.work == "fatal" for part in parts):
            raise DeviceFailed("gone")
        return answers


@pytest.mark.parametrize("dies", [True, False])
@on_a_loop
async def test_no_request_is_without_an_answer_when_the_scheduler_ends(dies: bool) -> None:  # noqa: FBT001
    """By a fault of its own, or as the service stops."""
    with DeviceThreads(1) as thread:
        setup = Setup(thread, 4, 10)
        serving = asyncio.create_task(setup.scheduler.run())
        first = await setup.occupy()
        waiting = await setup.queue("a", 1)
        if dies:
            setup.scheduler._learn = None  # type: ignore[assignment]
            setup.device.free.set()
        else:
            serving.cancel()
        for each in (first, waiting):
            with pytest.raises(Stopping):
                await asyncio.wait_for(each, 10)
        with pytest.raises(Stopping):
            await setup.ask("later", 1)
        setup.device.free.set()
        await asyncio.wait([serving])
        assert serving.cancelled() or isinstance(serving.exception(), TypeError)


@on_a_loop
async def test_a_deadline_that_cannot_be_made_costs_the_device_nothing() -> None:
    """Once batches were measured, a request that would be late is refused before it runs; one with time is run."""
    async with running(max_batch_rows=4) as setup:
        await setup.ask("a", 1)
        for num_rows in (1, 2, 4) * 10:
            setup.scheduler._lane("a").latency.add(num_rows, 10.0 * num_rows)
        seen = len(setup.device.batches)
        with pytest.raises(DeadlineExceeded):
            await setup.ask("late", 1, seconds=5.0)
        assert len(setup.device.batches) == seen
        assert await setup.ask("in time", 1, seconds=60.0) == [("in time", 0, 1)]
        assert (setup.scheduler.counters.num_expired, setup.scheduler.counters.num_late) == (1, 0)


@on_a_loop
async def test_a_deadline_that_passes_while_waiting_is_answered_at_once() -> None:
    """The caller need not wait until the device is free."""
    async with running() as setup:
        first = await setup.occupy()
        with pytest.raises(DeadlineExceeded):
            await setup.ask("a", 1, seconds=0.01)
        setup.device.free.set()
        await first
        assert await setup.ask("b", 1) == [("b", 0, 1)]
        assert [batch[0][0] for batch in setup.device.batches] == ["first", "b"]


@pytest.mark.parametrize(("seconds_a_row", "num_taken"), [(0.01, 5), (0.0001, 10)])
def test_where_rows_take_long_half_of_them_wait_for_the_next_batch(seconds_a_row: float, num_taken: int) -> None:
    """The device then has work while answers travel; where a batch is short, all that waits is taken."""

    async def take() -> int:
        lane: Lane[None, None] = Lane(32)
        for num_rows in (1, 4, 8, 16):
            lane.latency.add(num_rows, num_rows * seconds_a_row)
        for _ in range(10):
            lane.append(Place(1, "flowers", None, DEFAULT_PRIORITY), None)
        return sum(part.num_rows for _, part in lane.form_batch(32, 0.0, lambda _: pytest.fail("nothing expired")))

    assert asyncio.run(take()) == num_taken


@on_a_loop
async def test_the_wait_is_what_runs_and_waits_at_the_speed_of_the_last_batch() -> None:
    """Nothing waits at first, and while nothing was measured nothing is known."""
    async with running(max_batch_rows=4) as setup:
        assert setup.scheduler.wait_seconds() == 0.0
        await setup.ask("a", 1)
        times = setup.scheduler._lane("a").latency
        times.add(4, 10.0)
        assert setup.scheduler.wait_seconds() == 0.0
        first = await setup.occupy()
        waiting = await setup.queue("b", 4)
        runs = times.seconds(1)
        assert runs > 2
        assert runs + times.seconds(4) - 1 < setup.scheduler.wait_seconds() <= runs + times.seconds(4)
        in_company = times.seconds(4 + min(times.efficient_rows, 4))
        assert runs + in_company - 1 < setup.scheduler.wait_seconds(seconds_left=1000.0) <= runs + in_company
        setup.device.free.set()
        await asyncio.gather(first, waiting)
        assert setup.scheduler.wait_seconds() == 0.0
