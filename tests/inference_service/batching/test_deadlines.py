"""Requests that cannot meet their deadline cost the device nothing, and are refused early."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from inference_service.errors import DeadlineExceeded
from tests.inference_service.batching.held_device import KIND, Setup, running
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_an_expired_request_never_reaches_the_device() -> None:
    """It is answered DeadlineExceeded when the next batch is formed, and counted."""
    async with running() as setup:
        first = await setup.occupy()
        expired = await setup.start("a", 3, seconds=0.0)
        in_time = await setup.start("b", 1, seconds=60.0)
        setup.device.free.set()
        with pytest.raises(DeadlineExceeded):
            await expired
        await asyncio.gather(first, in_time)
        assert setup.device.batches[1:] == [[("b", 0, 1)]]
        assert setup.scheduler.counters.num_expired == 1
        assert setup.scheduler.snapshot().waiting_cost == 0


@on_a_loop
async def test_a_deadline_that_cannot_be_made_costs_the_device_nothing() -> None:
    """Once batches were measured, a request that would be late is refused before it runs; one with time is run."""
    async with running(max_batch_cost=4) as setup:
        await setup.ask("a", 1)
        for num_rows in (1, 2, 4) * 10:
            setup.latency().add(num_rows, 10.0 * num_rows)
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


@on_a_loop
async def test_the_wait_is_what_runs_and_waits_at_the_speed_of_the_last_batch() -> None:
    """Nothing waits at first, and while nothing was measured nothing is known."""
    async with running(max_batch_cost=4) as setup:
        assert setup.scheduler.wait_seconds() == 0.0
        await setup.ask("a", 1)
        times = setup.latency()
        times.add(4, 10_000.0)
        assert setup.scheduler.wait_seconds() == 0.0
        first = await setup.occupy()
        waiting = await setup.start("b", 4)
        runs = times.longest_seconds(1)
        assert runs > 2000
        ends = runs + times.longest_seconds(4)
        assert ends - 100 < setup.scheduler.wait_seconds() <= ends
        setup.device.free.set()
        await asyncio.gather(first, waiting)
        assert setup.scheduler.wait_seconds() == 0.0


def admit(setup: Setup, seconds: float, **more: Any) -> None:
    """Admit a request with this deadline, and leave again: here its rows would be prepared."""
    arguments = {"num_rows": 1, "model": "model", **more}
    with setup.scheduler.admit(KIND, setup.stage(), deadline=time.monotonic() + seconds, **arguments):
        pass


@on_a_loop
async def test_a_request_that_would_be_late_is_refused_before_its_rows_are_prepared() -> None:
    """By what runs and its own run; one with time for both is admitted."""
    async with running(max_batch_cost=4) as setup:
        await setup.ask("a", 1)
        for num_rows in (1, 2, 4) * 10:
            setup.latency().add(num_rows, 10.0 * num_rows)
        first = await setup.occupy()
        with pytest.raises(DeadlineExceeded, match="send fewer, or wait longer"):
            admit(setup, 15.0)
        admit(setup, 40.0)
        with pytest.raises(DeadlineExceeded):
            admit(setup, 40.0, num_rows=4)
        with pytest.raises(DeadlineExceeded):
            admit(setup, 40.0, row_cost=4)
        assert setup.scheduler.counters.num_expired == 3
        setup.device.free.set()
        await first


@on_a_loop
async def test_the_wait_before_a_request_is_what_is_sure_to_go_first() -> None:
    """What waits for its own model with no lower priority; where that has several forms, another one may go first."""
    async with running(max_batch_cost=4, max_queue_cost=100) as setup:
        await setup.ask("a", 1)
        for num_rows in (1, 2, 4) * 10:
            setup.latency().add(num_rows, 10.0 * num_rows)
        first = await setup.occupy()
        waiting = [await setup.start("b", 3)]
        with pytest.raises(DeadlineExceeded):
            admit(setup, 45.0)
        admit(setup, 55.0)
        admit(setup, 45.0, model="other")
        admit(setup, 45.0, priority=1)
        waiting.append(await setup.start("c", 1, row_cost=2))
        admit(setup, 45.0)
        setup.device.free.set()
        await asyncio.gather(first, *waiting)


@on_a_loop
async def test_a_wrong_expectation_is_not_believed_for_ever() -> None:
    """Where by what was learnt no request could be in time, a later one is run all the same, and corrects it."""
    async with running() as setup:
        await setup.ask("a", 1)
        for _ in range(10):
            setup.latency().add(1, 10.0)
        num_refused = 0
        while num_refused < 100:
            try:
                await setup.ask("a", 1, seconds=5.0)
            except DeadlineExceeded:
                num_refused += 1
            else:
                break
        assert 0 < num_refused < 100
        assert setup.scheduler.counters.num_late == 0
