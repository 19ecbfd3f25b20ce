"""One batch on the device, and a second one where the first lets it."""

from __future__ import annotations

import asyncio
import time

import pytest

from inference_service.batching.in_flight import InFlight, Signal
from tests.inference_service.loops import on_a_loop


class Batch:
    """A batch that ends when it is told to, and keeps the signal that it may give."""

    def __init__(self, in_flight: InFlight, expected_seconds: float = 1.0) -> None:
        self.done = asyncio.Event()
        self.signal: Signal | None = None
        in_flight.begin(self._run, expected_seconds)

    async def _run(self, signal: Signal) -> None:
        self.signal = signal
        await self.done.wait()

    async def let_next(self) -> None:
        """Give the signal from another thread, as the device does."""
        await turn()
        assert self.signal is not None
        await asyncio.to_thread(self.signal)
        await turn()


async def turn() -> None:
    """Let the event loop run what is ready."""
    for _ in range(3):
        await asyncio.sleep(0)


@on_a_loop
async def test_a_free_device_is_free_now_and_not_at_the_last_tick_of_the_event_loop() -> None:
    """The clock of uvloop stands still within a turn, and has whole milliseconds: batches take less."""
    before = time.monotonic()
    assert InFlight(lambda: None).free_at(1.0) >= before


@on_a_loop
async def test_the_next_batch_waits_for_the_end_of_one_that_says_nothing() -> None:
    """An idle device wants one at once."""
    in_flight = InFlight(lambda: pytest.fail("nothing failed"))
    assert in_flight.wants_next.is_set()
    batch = Batch(in_flight)
    await turn()
    assert not in_flight.wants_next.is_set()
    batch.done.set()
    await turn()
    assert in_flight.wants_next.is_set()
    assert len(in_flight) == 0


@on_a_loop
async def test_no_more_than_two_run() -> None:
    """Whatever the second one lets; when one ends, the newest one's word counts."""
    in_flight = InFlight(lambda: pytest.fail("nothing failed"))
    first = Batch(in_flight)
    await first.let_next()
    assert in_flight.wants_next.is_set()
    second = Batch(in_flight)
    await second.let_next()
    assert (len(in_flight), in_flight.wants_next.is_set()) == (2, False)
    first.done.set()
    await turn()
    assert in_flight.wants_next.is_set()
    third = Batch(in_flight)
    second.done.set()
    await turn()
    assert (len(in_flight), in_flight.wants_next.is_set()) == (1, False), "the third has not let another one begin"
    third.done.set()
    await turn()


@on_a_loop
async def test_a_second_one_begins_only_where_that_is_worth_it() -> None:
    """Which may be so later; an idle device takes whatever there is."""
    worth = asyncio.Event()
    in_flight = InFlight(lambda: pytest.fail("nothing failed"), worth.is_set)
    assert in_flight.wants_next.is_set()
    batch = Batch(in_flight)
    await batch.let_next()
    assert not in_flight.wants_next.is_set()
    worth.set()
    in_flight.update()
    assert in_flight.wants_next.is_set()
    worth.clear()
    second = Batch(in_flight)
    batch.done.set()
    second.done.set()
    await turn()
    assert in_flight.wants_next.is_set()


@on_a_loop
async def test_a_signal_that_comes_late_lets_nothing_begin() -> None:
    """The batch that gave it has ended, and the device has another one."""
    in_flight = InFlight(lambda: pytest.fail("nothing failed"))
    first = Batch(in_flight)
    await turn()
    first.done.set()
    await turn()
    second = Batch(in_flight)
    await first.let_next()
    assert not in_flight.wants_next.is_set()
    second.done.set()
    await turn()


@on_a_loop
async def test_the_device_is_expected_to_be_free_after_all_that_it_has() -> None:
    """What ends early brings that forward."""
    in_flight = InFlight(lambda: pytest.fail("nothing failed"))
    now = time.monotonic()
    assert in_flight.free_at(1.0) - now < 1
    first, second = Batch(in_flight, 100.0), Batch(in_flight, 10.0)
    await turn()
    assert 109 < in_flight.free_at(1.0) - now < 111
    assert 219 < in_flight.free_at(2.0) - now < 221
    first.done.set()
    await turn()
    assert 9 < in_flight.free_at(1.0) - now < 11
    second.done.set()
    await turn()
    assert in_flight.free_at(1.0) - now < 1


@on_a_loop
async def test_a_batch_that_is_over_its_time_is_late_by_a_share_of_it() -> None:
    """Until it ends; the one behind it is not, and one of which nothing was expected is never."""
    in_flight = InFlight(lambda: pytest.fail("nothing failed"))
    assert in_flight.late_share == 0
    unknown = Batch(in_flight, 0.0)
    first, second = Batch(in_flight, 1e-9), Batch(in_flight, 100.0)
    await turn()
    assert in_flight.late_share == 0
    unknown.done.set()
    await turn()
    assert in_flight.late_share > 1
    first.done.set()
    await turn()
    assert in_flight.late_share == 0
    second.done.set()
    await turn()


def test_the_time_that_two_batches_overlap_is_counted_once() -> None:
    """As the first one's."""

    async def measure() -> list[float]:
        in_flight = InFlight(lambda: None)
        return [in_flight.device_seconds(*each) for each in ((0.0, 2.0), (1.0, 5.0), (6.0, 7.0), (4.0, 6.5))]

    assert asyncio.run(measure()) == [2.0, 3.0, 1.0, 0.0]


@on_a_loop
async def test_what_a_batch_raises_is_told() -> None:
    """At once, and to whoever checks."""
    told = asyncio.Event()
    in_flight = InFlight(told.set)

    async def fail(_: Signal) -> None:
        raise ZeroDivisionError

    in_flight.check()
    in_flight.begin(fail, 1.0)
    await asyncio.wait_for(told.wait(), 10)
    with pytest.raises(ZeroDivisionError):
        in_flight.check()
