"""Which of the rows that wait go into one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from inference_service.batching.queue_capacity import CostLimits, QueueCapacity
from inference_service.batching.queue_entry import QueueEntry
from inference_service.batching.queues import Queue
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_a_deadline_that_ends_a_batch_early_leaves_the_rest_to_the_next_one() -> None:
    """The first request's deadline allows a batch of one row: the next one waits, whatever its own allows."""
    queue = Queue[str, str](QueueCapacity(CostLimits(8, 1000)))
    queue.latency.add(1, 1.0)
    for work, deadline in (("urgent", 1.5), ("patient", 5.0)):
        queue.append(QueueEntry(1, "model", deadline, 100), work)
    for expected in ("urgent", "patient"):
        batch = queue.form_batch(0.0, lambda _: pytest.fail("both are in time"))
        assert [part.work for _, part in batch] == [expected]
    assert not queue


@on_a_loop
async def test_a_slow_spell_is_not_believed_for_ever() -> None:
    """Where by what was learnt no request could be in time, a later one is run all the same, and teaches anew."""
    queue = Queue[str, str](QueueCapacity(CostLimits(8, 1000)))
    for seconds in (0.35, 1.5, 1.5):
        queue.latency.add(4, seconds)
    num_dropped = 0
    while True:
        queue.append(QueueEntry(1, "model", 0.45, 100), "work")
        dropped: list[QueueEntry[str, str]] = []
        if queue.form_batch(0.0, dropped.append):
            break
        num_dropped += len(dropped)
    assert 0 < num_dropped < 100


def queue_of(num_rows: int, deadlines: Sequence[float]) -> Queue[int, None]:
    """A queue in which a row takes a second, and this number of rows is an efficient batch, with these waiting."""
    queue = Queue[int, None](QueueCapacity(CostLimits(32, 1000)))
    for size in (1, 8, 16) * 20:
        queue.latency.add(size, 1.0 * num_rows / 10 + size)
    for work, deadline in enumerate(deadlines):
        queue.append(QueueEntry(1, "model", deadline, 100), work)
    return queue


@on_a_loop
async def test_where_more_waits_than_can_be_done_batches_stay_efficient() -> None:
    """Who could be in time in a small batch alone is given up for those behind."""
    dropped: list[float | None] = []
    batch = queue_of(8, [5.0] * 3 + [30.0] * 20).form_batch(0.0, lambda entry: dropped.append(entry.deadline))
    assert dropped == [5.0] * 3
    assert len(batch) >= 8
    dropped.clear()
    batch = queue_of(8, [5.0] * 3).form_batch(0.0, lambda entry: dropped.append(entry.deadline))
    assert len(batch) == 3


@on_a_loop
async def test_short_deadlines_are_met_in_batches_as_large_as_they_allow() -> None:
    """Where not even the latest one leaves time for an efficient batch, nobody is given up for its sake."""
    batch = queue_of(8, [5.0] * 20).form_batch(0.0, lambda _: pytest.fail("all are in time"))
    assert len(batch) == 4


@on_a_loop
async def test_the_device_is_done_a_little_before_the_deadline() -> None:
    """The answer has a way to go; of a short deadline that takes no more than a share."""
    now = time.monotonic()
    entry = QueueEntry[None, None](1, "model", now + 10.0, 100)
    assert entry.due is not None
    assert 9.9 < entry.due - now < 10.0
    hasty = QueueEntry[None, None](1, "model", now + 0.02, 100)
    assert hasty.due is not None
    assert 0.015 < hasty.due - now < 0.02
    assert QueueEntry[None, None](1, "model", None, 100).due is None
