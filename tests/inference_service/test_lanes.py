"""What of a lane's queues goes into one batch."""

from __future__ import annotations

import pytest

from inference_service.lanes import Lane, Place
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_a_deadline_that_ends_a_batch_early_leaves_the_rest_to_the_next_one() -> None:
    """The first request's deadline allows a batch of one row: the next one waits, whatever its own allows."""
    lane = Lane[str, str](max_rows=8)
    lane.run_times.add(1, 1.0)
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
        lane.run_times.add(4, seconds)
    num_dropped = 0
    while True:
        lane.append(Place(1, "model", 0.45, 100), "work")
        dropped: list[Place[str, str]] = []
        if lane.form_batch(8, 0.0, dropped.append):
            break
        num_dropped += len(dropped)
    assert 0 < num_dropped < 100
