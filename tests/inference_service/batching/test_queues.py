"""Which of the rows that wait go into one batch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inference_service.batching.latency_model import StageHistory
from inference_service.batching.queue_capacity import CostLimits, QueueCapacity
from inference_service.batching.queue_entry import QueueEntry
from inference_service.batching.queues import Queues
from tests.inference_service.loops import on_a_loop


class Waiting:
    """Entries of rows that begin with one stage, in their queues."""

    def __init__(self, max_cost: int = 8) -> None:
        self.history = StageHistory(QueueCapacity(CostLimits(max_cost, 1000)))
        self.queues = Queues[object, None]()
        self.dropped: list[float | None] = []

    def append(
        self,
        deadline: float | None,
        work: object = None,
        model: str = "model",
        form: object = None,
        row_cost: int = 1,
    ) -> None:
        """Let a row wait that is due by this time."""
        self.queues.append(QueueEntry(self.history, 1, model, deadline, row_cost=row_cost), work, form)

    def take(self) -> list[object]:
        """Return the works of the batch that begins at 0."""
        return [part.work for _, part in self.queues.form_batch(0.0, lambda entry: self.dropped.append(entry.deadline))]


@on_a_loop
async def test_a_deadline_that_ends_a_batch_early_leaves_the_rest_to_the_next_one() -> None:
    """The first request's deadline allows a batch of one row: the next one waits, whatever its own allows."""
    made = Waiting()
    made.history.latency.add(1, 1.0)
    made.append(1.5, "urgent")
    made.append(5.0, "patient")
    assert [made.take(), made.take()] == [["urgent"], ["patient"]]
    assert not made.queues
    assert not made.dropped


@on_a_loop
async def test_a_slow_spell_is_not_believed_for_ever() -> None:
    """Where by what was learnt no request could be in time, a later one is run all the same, and teaches anew."""
    made = Waiting()
    for seconds in (0.35, 1.5, 1.5):
        made.history.latency.add(4, seconds)
    for num_dropped in range(100):
        made.append(0.25)
        if made.take():
            break
        assert len(made.dropped) == num_dropped + 1
    assert 0 < num_dropped < 99


@pytest.mark.parametrize(("seconds_a_row", "num_taken"), [(0.01, 5), (0.0001, 10)])
@on_a_loop
async def test_where_rows_take_long_half_of_them_wait_for_the_next_batch(seconds_a_row: float, num_taken: int) -> None:
    """The device then has work while answers travel; where a batch is short, all that waits is taken."""
    made = Waiting(max_cost=32)
    made.history.latency.add(8, 8 * seconds_a_row)
    for _ in range(10):
        made.append(None)
    assert len(made.take()) == num_taken


@on_a_loop
async def test_where_other_rows_wait_all_of_a_kind_is_taken() -> None:
    """While the answers travel, the device has the rows of the other forms: smaller batches would gain nothing."""
    made = Waiting(max_cost=32)
    made.history.latency.add(8, 0.08)
    for form in (1, 2):
        for _ in range(10):
            made.append(None, form, form=form)
    made.append(None, 3, form=3)
    assert made.take() == [1] * 10
    assert made.take() == [2] * 6  # half of the 11 rows that are left, which take equally long
    assert made.take() == [3]


@on_a_loop
async def test_who_waits_anew_has_no_claim_to_the_time_before() -> None:
    """A model that asked for nothing while another one was served takes turns with it from then on."""
    made = Waiting(max_cost=1)
    made.history.latency.add(1, 1.0)
    for _ in range(20):
        made.append(None, "old", "old", 1)
    assert [made.take() for _ in range(10)] == [["old"]] * 10
    for _ in range(5):
        made.append(None, "new", "new", 2)
    taken = [work for _ in range(10) for work in made.take()]
    assert taken.count("new") == 5
    assert all(taken[:count].count("new") <= count / 2 + 1 for count in range(1, 11))


@on_a_loop
async def test_forms_of_one_model_take_turns() -> None:
    """Rows of one form leave those of another their share, and a third model has half of the device all the same."""
    made = Waiting(max_cost=1)
    made.history.latency.add(1, 1.0)
    for _ in range(20):
        for model, form in (("two forms", 1), ("two forms", 2), ("one form", 3)):
            made.append(None, form, model, form)
    taken = [work for _ in range(20) for work in made.take()]
    assert [taken.count(form) for form in (1, 2, 3)] == [5, 5, 10]


@on_a_loop
async def test_cheap_rows_of_a_model_join_a_batch_while_its_costly_ones_run() -> None:
    """Forms take turns, one batch each: a cheap row does not go first, again and again, because it takes less time."""
    made = Waiting(max_cost=100)
    made.history.latency.add(100, 1.0)
    for _ in range(5):
        made.append(None, "costly", form="costly", row_cost=100)
    taken = []
    for _ in range(5):
        made.append(None, "cheap", form="cheap")
        taken.append(made.take())
    assert taken == [["costly"], ["cheap"] * 2, ["costly"], ["cheap"] * 2, ["costly"]]


def waiting(num_rows: int, deadlines: Sequence[float]) -> Waiting:
    """Queues in which a row takes a second, and this number of rows is an efficient batch, with these waiting."""
    made = Waiting(max_cost=32)
    for size in (1, 8, 16) * 20:
        made.history.latency.add(size, 1.0 * num_rows / 10 + size)
    for deadline in deadlines:
        made.append(deadline)
    return made


@on_a_loop
async def test_where_more_waits_than_can_be_done_batches_stay_efficient() -> None:
    """Who could be in time in a small batch alone is given up for those behind."""
    made = waiting(8, [7.5] * 3 + [45.0] * 20)
    assert len(made.take()) >= 8
    assert made.dropped == [7.5] * 3
    assert len(waiting(8, [7.5] * 3).take()) == 3


@on_a_loop
async def test_short_deadlines_are_met_in_batches_as_large_as_they_allow() -> None:
    """Where not even the latest one leaves time for an efficient batch, nobody is given up for its sake."""
    made = waiting(8, [7.5] * 20)
    assert len(made.take()) == 4
    assert not made.dropped
