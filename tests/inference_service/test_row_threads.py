"""Rows are shared among the cores, and come back in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
from torch import Tensor

from inference_service.precision import Precision
from inference_service.row_threads import RowThreads


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

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the rows plus one."""
        with self._lock:
            self.shares.append((len(rows), torch.get_num_threads()))
            self.threads.add(threading.get_ident())
        return rows + 1


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
    with closing(RowThreads(4)) as threads:
        assert torch.equal(threads.run(seen, rows, precision), rows + 1)
    assert sorted(seen.shares) == shares


@pytest.mark.parametrize(("num_rows", "sizes"), [(16, [4] * 4), (17, [2] * 7 + [3]), (32, [4] * 8)])
def test_shares_of_large_rows_are_small(num_rows: int, sizes: list[int]) -> None:
    """No more than four images of 224 pixels, and every thread has as many shares as another."""
    seen = Seen()
    rows = torch.zeros(num_rows, 3, 224, 224, dtype=torch.uint8)
    with closing(RowThreads(4)) as threads:
        assert torch.equal(threads.run(seen, rows, Precision.FLOAT32), rows + 1)
    assert sorted(seen.shares) == [(size, 1) for size in sizes]


def test_a_caller_with_one_thread_runs_it_itself() -> None:
    """On the event loop only what is short is run."""
    seen = Seen()
    torch.set_num_threads(1)
    with closing(RowThreads(4)) as threads:
        threads.run(seen, torch.zeros(8, 1), Precision.FLOAT32)
    assert seen.shares == [(8, 1)]
    assert seen.threads == {threading.get_ident()}


def test_what_a_share_raises_is_raised() -> None:
    """No other share's answer hides it."""

    def work(rows: Tensor) -> Tensor:
        if bool((rows == 5).any()):
            raise torch.OutOfMemoryError
        return rows

    with closing(RowThreads(4)) as threads, pytest.raises(torch.OutOfMemoryError):
        threads.run(work, torch.arange(8), Precision.FLOAT32)


def test_shares_know_of_no_gradients() -> None:
    """A thread of its own does not have its caller's mode."""
    layer = torch.nn.Linear(2, 2)
    with closing(RowThreads(4)) as threads, torch.inference_mode():
        assert threads.run(layer, torch.zeros(8, 2), Precision.FLOAT32).is_inference()
