"""Requests reach the device in batches, in order, and are refused where there is no room."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from inference_service.errors import QueueFull
from tests.inference_service.batching.held_device import KIND, running
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_a_request_runs_at_once_on_a_free_device() -> None:
    """Nothing waits for company."""
    async with running() as setup:
        assert await setup.ask("a", 2) == [("a", 0, 2)]
        assert setup.device.batches == [[("a", 0, 2)]]


@on_a_loop
async def test_what_waits_runs_together_in_order_and_is_counted_in_rows() -> None:
    """A batch takes the oldest rows up to its limit, and the rest of a request goes into the next one."""
    async with running(max_batch_cost=4) as setup:
        first = await setup.occupy()
        waiting = [await setup.start("a", 3), await setup.start("b", 3), await setup.start("c", 1)]
        setup.device.free.set()
        answers = await asyncio.gather(first, *waiting)
    assert answers[1:] == [[("a", 0, 3)], [("b", 0, 1), ("b", 1, 3)], [("c", 0, 1)]]
    assert setup.device.batches == [[("first", 0, 1)], [("a", 0, 3), ("b", 0, 1)], [("b", 1, 3), ("c", 0, 1)]]
    assert setup.scheduler.snapshot().waiting_cost == 0
    assert (setup.scheduler.counters.num_batches, setup.scheduler.counters.num_rows) == (3, 8)


@on_a_loop
async def test_a_request_larger_than_a_batch_is_split() -> None:
    """Its parts are answered in order, across batches."""
    async with running(max_batch_cost=4) as setup:
        assert await setup.ask("a", 10) == [("a", 0, 4), ("a", 4, 8), ("a", 8, 10)]


@on_a_loop
async def test_a_full_queue_refuses_at_once() -> None:
    """Rows that wait or are being prepared count; those on the device do not."""
    async with running(max_queue_cost=4) as setup:
        first = await setup.occupy()
        with setup.scheduler.admit(KIND, setup.stage(), 3, "model"):
            with pytest.raises(QueueFull, match="a cost of 3 of 4 waits already"):
                await setup.ask("b", 2)
            fits = await setup.start("c", 1)
        setup.device.free.set()
        await asyncio.gather(first, fits)
        assert await setup.ask("d", 4) == [("d", 0, 4)]
        assert setup.scheduler.counters.num_refused == 1


@on_a_loop
async def test_a_cancelled_request_never_reaches_the_device() -> None:
    """Its room is free at once, and it is dropped and counted when the next batch is formed."""
    async with running() as setup:
        first = await setup.occupy()
        left = await setup.start("a", 3)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert setup.scheduler.snapshot().waiting_cost == 0
        stayed = await setup.start("b", 1)
        setup.device.free.set()
        await asyncio.gather(first, stayed)
        assert setup.device.batches[1:] == [[("b", 0, 1)]]
        assert setup.scheduler.counters.num_cancelled == 1


@on_a_loop
async def test_a_failed_batch_fails_only_its_own_requests() -> None:
    """Requests that ran beside the fault fail with it, the rest of a split one is dropped, and the next batch runs."""
    async with running(max_batch_cost=4) as setup:
        first = await setup.occupy()
        broken = await setup.start("broken", 2)
        split = await setup.start("a", 4)
        later = await setup.start("b", 1)
        setup.device.free.set()
        assert await first == [("first", 0, 1)]
        for failing in (broken, split):
            with pytest.raises(ZeroDivisionError):
                await failing
        assert await later == [("b", 0, 1)]
        assert setup.device.batches[1:] == [[("broken", 0, 2), ("a", 0, 2)], [("b", 0, 1)]]
        assert setup.scheduler.snapshot().waiting_cost == 0


@on_a_loop
async def test_room_is_given_back_where_preparing_fails() -> None:
    """A request whose images cannot be decoded leaves the queue as it was."""
    async with running(max_queue_cost=4) as setup:
        with suppress(ValueError), setup.scheduler.admit(KIND, setup.stage(), 4, "model"):
            raise ValueError
        assert setup.scheduler.snapshot().waiting_cost == 0
        assert await setup.ask("a", 4) == [("a", 0, 4)]
