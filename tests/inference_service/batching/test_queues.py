"""What of a lane's queues goes into one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from inference_service.batching.queues import Lane, Place
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_a_deadline_that_ends_a_batch_early_leaves_the_rest_to_the_next_one() -> None:
    """The first request's deadline allows a batch of one row: the next one waits, whatever its own allows."""
    lane = Lane[str, str](max_rows=8)
    lane.latency.add(1, 1.0)
    for work, deadline in (("urgent", 1.5), ("patient", 5.0)):
        lane.append(Place(1, "model", deadline, 100), work)
    for expected in ("urgent", "patient"):
        batch = lane.form_batch(8, 0.0, lambda _: pytest.fail("both are in time"))
        assert [part.work for _, part in batch] == [expected]
    assert not lane


@on_a_loop
async def test_a_slow_spell_is_not_believed_for_ever() -> None:
    """Where by what was learnt no request could be in time, a later one is run all the same, and teaches anew."""
    lane = Lane[str, str](max_rows=8)
    for seconds in (0.35, 1.5, 1.5):
        lane.latency.add(4, seconds)
    num_dropped = 0
    while True:
        lane.append(Place(1, "model", 0.45, 100), "work")
        dropped: list[Place[str, str]] = []
        if lane.form_batch(8, 0.0, dropped.append):
            break
        num_dropped += len(dropped)
    assert 0 < num_dropped < 100


def lane_of(num_rows: int, deadlines: Sequence[float]) -> Lane[int, None]:
    """A lane in which a row takes a second and a batch ten more, and so many rows are efficient, with these waiting."""
    lane = Lane[int, None](max_rows=32)
    for size in (1, 8, 16) * 20:
        lane.latency.add(size, 1.0 * num_rows / 10 + size)
    for work, deadline in enumerate(deadlines):
        lane.append(Place(1, "model", deadline, 100), work)
    return lane


@on_a_loop
async def test_where_more_waits_than_can_be_done_batches_stay_efficient() -> None:
    """Who could be in time in a small batch alone is given up for those behind."""
    dropped: list[float | None] = []
    batch = lane_of(8, [5.0] * 3 + [30.0] * 20).form_batch(32, 0.0, lambda place: dropped.append(place.deadline))
    assert dropped == [5.0] * 3
    assert len(batch) >= 8
    dropped.clear()
    batch = lane_of(8, [5.0] * 3).form_batch(32, 0.0, lambda place: dropped.append(place.deadline))
    assert len(batch) == 3


@on_a_loop
async def test_short_deadlines_are_met_in_batches_as_large_as_they_allow() -> None:
    """Where not even the latest one leaves time for an efficient batch, nobody is given up for its sake."""
    batch = lane_of(8, [5.0] * 20).form_batch(32, 0.0, lambda _: pytest.fail("all are in time"))
    assert len(batch) == 4


@on_a_loop
async def test_the_device_is_done_a_little_before_the_deadline() -> None:
    """The answer has a way to go; of a short deadline that takes no more than a share."""
    now = time.monotonic()
    place = Place[None, None](1, "model", now + 10.0, 100)
    assert place.due is not None
    assert 9.9 < place.due - now < 10.0
    hasty = Place[None, None](1, "model", now + 0.02, 100)
    assert hasty.due is not None
    assert 0.015 < hasty.due - now < 0.02
    assert Place[None, None](1, "model", None, 100).due is None
