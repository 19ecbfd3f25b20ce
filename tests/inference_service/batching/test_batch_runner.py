"""Where a batch runs, what runs beside it, and what the device's memory does not hold."""

from __future__ import annotations

import asyncio
import threading

import pytest

from inference_service.errors import OutOfDeviceMemory
from tests.inference_service.batching.held_device import Letting, running
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_a_batch_too_large_for_the_memory_is_run_in_halves() -> None:
    """Every row is answered, and the next batches are no larger than what was seen to fit."""
    async with running(max_batch_cost=8, max_queue_cost=100) as setup:
        setup.device.memory_rows = 3
        first = await setup.occupy()
        waiting = [await setup.start("a", 5), await setup.start("b", 3)]
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
        assert setup.scheduler.snapshot().waiting_cost == 0


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
        held = setup.scheduler._runner._device_threads.submit(lambda: (holding.set(), free.wait(10)))
        assert holding.wait(10)
        task = await setup.start("b", 1)
        while setup.scheduler.snapshot().waiting_cost:  # noqa: ASYNC110  nobody announces it
            await asyncio.sleep(0)
        assert not task.done()
        free.set()
        assert await task == [("b", 0, 1)]
        assert held.result()[1]
        assert threading.get_ident() not in setup.device.threads


@pytest.mark.parametrize("seconds", [0.001, 10.0])
@on_a_loop
async def test_a_batch_begins_beside_a_long_one_that_lets_it(seconds: float) -> None:
    """A short one is waited for all the same, so that the next one is larger."""
    async with running(max_batch_cost=32, num_batches=2) as setup:
        device = Letting()
        setup.scheduler._runner._run_batch = device.run
        setup.queue().latency.add(1, seconds)
        held = await setup.start("held", 1)
        await device.has_begun.wait()
        others = [await setup.start(f"other {number}", 1) for number in range(3)]
        for _ in range(200):  # rounds of the event loop, many more than a batch needs to be formed
            await asyncio.sleep(0)
        assert device.begun == ["held"], "three rows are too few to begin beside another batch"
        others.append(await setup.start("other 3", 1))
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
