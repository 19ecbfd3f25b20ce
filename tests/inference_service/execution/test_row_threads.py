"""Rows are shared among the cores, and come back in order."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from inference_service.execution.row_threads import RowThreads
from inference_service.models.precision import Precision
from model_store.modalities import Batch
from tests.inference_service.running import until


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    """The caller is one that has four of PyTorch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Seen:
    """Work that counts up, and notes how many rows and threads each share had."""

    def __init__(self) -> None:
        self.shares: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, rows: Batch) -> Batch:
        """Return the rows plus one."""
        with self._lock:
            self.shares.append((len(rows), torch.get_num_threads()))
            self.threads.add(threading.get_ident())
        return Batch.of(rows.x + 1)


@pytest.mark.parametrize(
    ("num_rows", "precision", "shares"),
    [
        (1, Precision.FLOAT32, [(1, 4)]),
        (1, Precision.BFLOAT16, [(1, 2)]),
        (2, Precision.BFLOAT16, [(1, 2), (1, 2)]),
        (3, Precision.FLOAT32, [(1, 1)] * 3),
        (10, Precision.FLOAT32, [(2, 1), (2, 1), (3, 1), (3, 1)]),
    ],
)
def test_every_row_is_run_once(num_rows: int, precision: Precision, shares: list[tuple[int, int]]) -> None:
    """As many shares as there are threads or rows; threads that are left over help within a share."""
    seen = Seen()
    rows = torch.arange(num_rows * 3).view(num_rows, 3)
    with closing(RowThreads(4, has_siblings=True)) as threads:
        assert torch.equal(threads.run(seen, Batch.of(rows), precision).x, rows + 1)
    assert sorted(seen.shares) == shares


@pytest.mark.parametrize(
    ("num_rows", "precision", "sizes"),
    [
        (16, Precision.FLOAT32, [4] * 4),
        (17, Precision.FLOAT32, [2] * 7 + [3]),
        (32, Precision.FLOAT32, [4] * 8),
        (32, Precision.BFLOAT16, [8] * 4),
    ],
)
def test_shares_of_large_rows_are_small(num_rows: int, precision: Precision, sizes: list[int]) -> None:
    """No more than four images of 224 pixels, eight of half the bytes, and every thread has as many as another."""
    seen = Seen()
    rows = torch.zeros(num_rows, 3, 224, 224, dtype=torch.uint8)
    with closing(RowThreads(4)) as threads:
        assert torch.equal(threads.run(seen, Batch.of(rows), precision).x, rows + 1)
    assert sorted(seen.shares) == [(size, 1) for size in sizes]


def test_a_caller_with_one_thread_runs_it_itself() -> None:
    """On the event loop only what is short is run."""
    seen = Seen()
    torch.set_num_threads(1)
    with closing(RowThreads(4)) as threads:
        threads.run(seen, Batch.of(torch.zeros(8, 1)), Precision.FLOAT32)
    assert seen.shares == [(8, 1)]
    assert seen.threads == {threading.get_ident()}


def test_what_a_share_raises_is_raised() -> None:
    """No other share's answer hides it."""

    def work(rows: Batch) -> Batch:
        if bool((rows.x == 5).any()):
            raise torch.OutOfMemoryError
        return rows

    with closing(RowThreads(4)) as threads, pytest.raises(torch.OutOfMemoryError):
        threads.run(work, Batch.of(torch.arange(8)), Precision.FLOAT32)


def test_shares_know_of_no_gradients() -> None:
    """A thread of its own does not have its caller's mode."""
    layer = torch.nn.Linear(2, 2)
    with closing(RowThreads(4)) as threads, torch.inference_mode():
        run = threads.run(lambda rows: Batch.of(layer(rows.x)), Batch.of(torch.zeros(8, 2)), Precision.FLOAT32)
        assert run.x.is_inference()


class Held:
    """Work on rows of zeros that waits until it is let go, and notes which rows were begun."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.begun: list[int] = []
        self.has_begun = threading.Condition()

    def __call__(self, rows: Batch) -> Batch:
        """Return the rows."""
        with self.has_begun:
            self.begun.append(int(rows.x[0]))
            self.has_begun.notify_all()
        assert self.free.wait(10)
        return rows

    def await_begun(self, num_shares: int) -> None:
        """Wait until so many shares were taken."""
        with self.has_begun:
            assert self.has_begun.wait_for(lambda: len(self.begun) >= num_shares, 10)


def run_beside(threads: RowThreads, work: Held, rows: Batch, turn: int) -> threading.Thread:
    """Run rows from a thread of its own."""

    def run() -> None:
        torch.set_num_threads(4)
        assert torch.equal(threads.run(work, rows, Precision.FLOAT32, turn=turn).x, rows.x)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_the_lowest_turn_goes_first() -> None:
    """What an earlier batch still has to run is not behind a later one that has begun meanwhile."""
    first, second, third = Held(), Held(), Held()
    with closing(RowThreads(2)) as threads:
        running = [run_beside(threads, first, Batch.of(torch.zeros(2)), 0)]
        first.await_begun(2)
        running += [run_beside(threads, third, Batch.of(torch.full((2,), 3.0)), 2)]
        while threads._shares.qsize() < 2:
            assert running[-1].is_alive()
        running += [run_beside(threads, second, Batch.of(torch.full((2,), 2.0)), 1)]
        while threads._shares.qsize() < 4:
            assert running[-1].is_alive()
        first.free.set()
        second.await_begun(2)
        assert not third.begun
        second.free.set()
        third.await_begun(2)
        third.free.set()
        for each in running:
            each.join(10)


@pytest.mark.parametrize(("num_rows", "is_told"), [(1, False), (3, False), (4, True), (9, True)])
def test_it_is_told_when_a_core_may_find_nothing_to_do(num_rows: int, is_told: bool) -> None:  # noqa: FBT001
    """Once the last share is taken; never while cores help one another with a row."""
    told = threading.Event()
    work = Held()
    with closing(RowThreads(4)) as threads:

        def taken() -> None:
            told.set()
            assert not threads._shares.qsize()

        work.free.set()
        threads.run(work, Batch.of(torch.arange(num_rows)), Precision.FLOAT32, last_is_taken=taken)
        assert told.is_set() == is_told


def test_nothing_is_kept_of_what_has_run() -> None:
    """A version that is unloaded would else stay in memory until the next batch."""

    class Work:
        def __call__(self, rows: Batch) -> Batch:
            return rows

    with closing(RowThreads(4)) as threads:
        work = Work()
        gone = weakref.ref(work)
        threads.run(work, Batch.of(torch.zeros(8)), Precision.FLOAT32)
        del work
        until(lambda: gone() is None)
