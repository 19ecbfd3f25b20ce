"""Models, forms, queues and priorities share the device, by cost."""

from __future__ import annotations

import asyncio

import pytest

from inference_service.errors import QueueFull
from model_store.errors import InvalidInput
from tests.inference_service.batching.held_device import running
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_models_share_every_batch_evenly() -> None:
    """One model's flood leaves another's trickle its share, whoever came first."""
    async with running(max_batch_cost=4, max_queue_cost=100) as setup:
        first = await setup.occupy()
        flood = [await setup.start(f"a{index}", 2, model="flood") for index in range(6)]
        trickle = [await setup.start(f"t{index}", 1, model="trickle") for index in range(2)]
        setup.device.free.set()
        await asyncio.gather(first, *flood, *trickle)
    assert setup.device.batches[1:3] == [
        [("a0", 0, 2), ("t0", 0, 1), ("t1", 0, 1)],
        [("a1", 0, 2), ("a2", 0, 2)],
    ]


@on_a_loop
async def test_a_flood_leaves_room_in_the_queue() -> None:
    """No model takes all of the room: a request for another still gets in."""
    async with running(max_batch_cost=1, max_queue_cost=10) as setup:
        first = await setup.occupy()
        flood = [await setup.start("a", 1, model="flood") for _ in range(10)]
        refused = [each for each in flood if each.done()]
        assert 0 < len(refused) < 5
        for each in refused:
            with pytest.raises(QueueFull, match="for this model"):
                await each
        other = await setup.start("t", 1, model="other")
        assert not other.done()
        setup.device.free.set()
        await asyncio.gather(first, other, *(each for each in flood if each not in refused))


@on_a_loop
async def test_queues_take_turns_by_the_time_they_had() -> None:
    """Rows that cannot run together are not mixed, and neither queue waits until the other is empty."""
    async with running(max_batch_cost=2, max_queue_cost=100) as setup:
        first = await setup.occupy()
        waiting = [await setup.start(work, 2) for work in ("a1", "a2", "a3", "B1", "B2")]
        setup.device.free.set()
        await asyncio.gather(first, *waiting)
    turns = ["B" if batch[0][0].startswith("B") else "a" for batch in setup.device.batches[1:]]
    assert sorted(turns) == ["B", "B", "a", "a", "a"]
    assert "B" in turns[:2]


@on_a_loop
async def test_the_lowest_priority_goes_first() -> None:
    """Within a queue and between queues."""
    async with running(max_batch_cost=2, max_queue_cost=100) as setup:
        first = await setup.occupy()
        waiting = [
            await setup.start("a", 2),
            await setup.start("b", 2, priority=1),
            await setup.start("B", 2, priority=2),
        ]
        setup.device.free.set()
        await asyncio.gather(first, *waiting)
    assert [batch[0][0] for batch in setup.device.batches[1:]] == ["b", "B", "a"]


@on_a_loop
async def test_rows_of_different_forms_run_in_batches_of_their_own() -> None:
    """Rows of one form share a batch, whichever model they are for; each batch keeps to the limit of cost."""
    async with running(max_batch_cost=10, max_queue_cost=100) as setup:
        first = await setup.occupy()
        waiting = [
            await setup.start("a", 3, row_cost=5, model="one"),
            await setup.start("b", 4, model="one"),
            await setup.start("c", 1, row_cost=5, model="two"),
            await setup.start("d", 2, model="two"),
        ]
        setup.device.free.set()
        await asyncio.gather(first, *waiting)
    batches = [sorted(batch) for batch in setup.device.batches[1:]]
    assert sorted(batches) == [[("a", 0, 1), ("c", 0, 1)], [("a", 1, 3)], [("b", 0, 4), ("d", 0, 2)]]


@on_a_loop
async def test_a_row_that_costs_more_than_a_batch_may_runs_alone() -> None:
    """Else it would never run."""
    async with running(max_batch_cost=4, max_queue_cost=100) as setup:
        assert await setup.ask("a", 3, row_cost=10) == [("a", 0, 1), ("a", 1, 2), ("a", 2, 3)]


@pytest.mark.parametrize("models", [("long", "short"), ("one", "one")], ids=["two models", "one model"])
@on_a_loop
async def test_a_flood_of_costly_rows_delays_a_trickle_of_cheap_ones_by_one_batch(models: tuple[str, str]) -> None:
    """By the device's clock the trickle's answers take at most twice as long as a long row, on one backbone."""
    async with running(max_batch_cost=512, max_queue_cost=20_000) as setup:
        clock, answered, over = setup.device.clock, asyncio.Event(), asyncio.Event()

        async def flood() -> None:
            while not over.is_set():
                await setup.ask("long", 1, row_cost=500, model=models[0])
                answered.set()

        async def trickle() -> list[float]:
            seconds = []
            for _ in range(100):
                answered.clear()
                await answered.wait()
                began = clock()
                await setup.ask("short", 1, row_cost=5, model=models[1])
                seconds.append(clock() - began)
            over.set()
            return seconds

        seconds, *_ = await asyncio.gather(trickle(), *(flood() for _ in range(16)))
    assert sum(batch[0][0] == "long" for batch in setup.device.batches) >= 100
    assert max(seconds) <= 2 * 500 * 1e-4


@on_a_loop
async def test_models_get_equal_cost_whatever_a_row_of_theirs_costs() -> None:
    """Two floods, one of rows that cost a hundred times as much, each get half of the device."""
    async with running(max_batch_cost=32, max_queue_cost=10_000) as setup:
        first = await setup.occupy()
        costly = [await setup.start(f"costly {number}", 1, row_cost=100, model="costly") for number in range(10)]
        cheap = [await setup.start(f"cheap {number}", 10, model="cheap") for number in range(100)]
        setup.device.free.set()
        await asyncio.gather(first, *costly, *cheap)
    used = {"costly": 0, "cheap": 0}
    for batch in setup.device.batches[1:]:
        for work, start, stop in batch:
            used[work.split()[0]] += (stop - start) * setup.device.row_costs[work]
        assert abs(used["costly"] - used["cheap"]) <= 100
    assert used == {"costly": 1000, "cheap": 1000}


@on_a_loop
async def test_room_is_counted_in_cost() -> None:
    """Where the cost was not known before the rows were prepared, a request that has no room is refused then."""
    async with running(max_queue_cost=100) as setup:
        first = await setup.occupy()
        waiting = await setup.start("a", 2, row_cost=40, model="one")
        assert setup.scheduler.snapshot().waiting_cost == 80
        with pytest.raises(QueueFull, match=r"a cost of 81 of 100 waits already, 1 of it for this model, .* 29 more"):
            await setup.ask("b", 1, row_cost=30, model="two")
        assert setup.scheduler.snapshot().waiting_cost == 80
        fits = await setup.start("c", 1, row_cost=10, model="two")
        setup.device.free.set()
        await asyncio.gather(first, waiting, fits)
        assert setup.scheduler.snapshot().waiting_cost == 0


@on_a_loop
async def test_a_request_that_no_queue_could_hold_is_told_so() -> None:
    """When its rows are counted, or once their cost is known; one that an empty queue holds gets in."""
    async with running(max_queue_cost=100) as setup:
        with pytest.raises(InvalidInput, match="costs 101, and never more than 100 may wait: send fewer rows"):
            await setup.ask("a", 101)
        with pytest.raises(InvalidInput, match="costs 120"):
            await setup.ask("a", 2, row_cost=60)
        assert await setup.ask("a", 1, row_cost=100) == [("a", 0, 1)]
        assert await setup.ask("b", 100) == [("b", start, start + 4) for start in range(0, 100, 4)]
        assert setup.scheduler.snapshot().waiting_cost == 0
        assert setup.scheduler.counters.num_refused == 0
