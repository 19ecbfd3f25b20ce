"""Where a batch runs, what runs beside it, and what the device's memory does not hold."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from inference_service.batching.queue_entry import Part
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


@on_a_loop
async def test_a_batch_begins_beside_one_that_lets_it() -> None:
    """Both are answered, whichever ends first."""
    async with running(max_batch_cost=32, num_batches=2) as setup:
        device = Letting()
        setup.scheduler._runner._run_batch = device.run
        held = await setup.start("held", 1)
        await device.has_begun.wait()
        others = [await setup.start(f"other {number}", 1) for number in range(3)]
        assert await asyncio.gather(*others) == [[(f"other {number}", 0, 1)] for number in range(3)]
        assert not held.done()
        device.free.set()
        assert await held == [("held", 0, 1)]


@on_a_loop
async def test_parts_of_a_request_are_answered_in_its_order_whichever_ends_first() -> None:
    """The first batch of a request's rows ends after the others, which run beside it."""
    async with running(max_batch_cost=2, num_batches=2) as setup:
        free = threading.Event()

        def run(parts: Sequence[Part[str]], wants_next: Callable[[], object] | None) -> list[tuple[str, int, int]]:
            if wants_next is not None:
                wants_next()
            assert parts[0].start or free.wait(10)
            return [(part.work, part.start, part.stop) for part in parts]

        setup.scheduler._runner._run_batch = run
        asked = await setup.start("a", 5)
        while setup.scheduler.counters.num_batches < 2:  # noqa: ASYNC110  nobody announces it
            await asyncio.sleep(0)
        free.set()
        assert await asked == [("a", 0, 2), ("a", 2, 4), ("a", 4, 5)]


@on_a_loop
async def test_a_signal_that_comes_late_lets_nothing_begin() -> None:
    """The batch that gave it has ended, and the device has another one."""
    async with running(num_batches=2) as setup:
        device = Letting()
        setup.scheduler._runner._run_batch = device.run
        setup.latency().add(1, 10.0)
        signals = device.keep_signals()
        await setup.ask("first", 1)
        held = await setup.start("held", 1)
        while len(signals) < 2:
            await device.has_begun.wait()
            device.has_begun.clear()
        signals[0]()
        waiting = await setup.start("waiting", 1)
        for _ in range(200):
            await asyncio.sleep(0)
        assert device.begun == ["first", "held"]
        signals[1]()
        assert await waiting == [("waiting", 0, 1)]
        assert not held.done()
        device.free.set()
        await held


@on_a_loop
async def test_the_device_is_expected_to_be_free_after_all_that_it_has() -> None:
    """At once where it has nothing; the time that two batches overlap is learnt as the first one's."""
    async with running(num_batches=2) as setup:
        runner, now = setup.scheduler._runner, time.monotonic()
        assert 0 <= runner.free_at() - now < 1
        device = Letting()
        runner._run_batch = device.run
        setup.latency().add(1, 100.0)
        held = [await setup.start("held", 1)]
        await device.has_begun.wait()
        held.append(await setup.start("held", 1))
        while len(runner) < 2:  # noqa: ASYNC110  nobody announces it
            await asyncio.sleep(0)
        assert 199 < runner.free_at() - now < 202
        assert 299 < runner.free_at(1.5) - now < 302
        device.free.set()
        await asyncio.gather(*held)
        assert runner.free_at() - now < 50
