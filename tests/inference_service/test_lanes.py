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
