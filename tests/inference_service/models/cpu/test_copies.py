"""Copies of a compiled stage are prepared when they are needed, and never more than may be."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Barrier

import pytest

from inference_service.models.cpu.openvino import Copies

NUM_THREADS = 4


def counted(made: SimpleQueue[int]) -> Copies:
    """Return copies that count how many were prepared."""

    def prepare(num_cores: int) -> object:
        made.put(num_cores)
        return object()

    return Copies(prepare, {1: NUM_THREADS, NUM_THREADS: 1})


def test_a_copy_is_prepared_at_the_first_use_and_used_again() -> None:
    """One caller at a time needs one copy."""
    made: SimpleQueue[int] = SimpleQueue()
    copies = counted(made)
    assert made.empty()
    first = copies.take(1)
    copies.put(1, first)
    assert copies.take(1) is first
    copies.put(1, first)
    copies.take(copies.most_cores)
    assert [made.get_nowait() for _ in range(made.qsize())] == [1, NUM_THREADS]


def test_callers_at_once_have_copies_of_their_own_and_no_more_are_prepared_than_may_be() -> None:
    """Twice as many callers as copies: some wait, each has a copy alone."""
    made: SimpleQueue[int] = SimpleQueue()
    copies, in_use, barrier = counted(made), set[int](), Barrier(2 * NUM_THREADS)

    def use() -> None:
        barrier.wait()
        for _ in range(50):
            copy = copies.take(1)
            assert id(copy) not in in_use
            in_use.add(id(copy))
            in_use.remove(id(copy))
            copies.put(1, copy)

    with ThreadPoolExecutor(2 * NUM_THREADS) as threads:
        for each in [threads.submit(use) for _ in range(2 * NUM_THREADS)]:
            each.result()
    assert 1 <= made.qsize() <= NUM_THREADS


def test_a_copy_that_cannot_be_prepared_is_tried_again() -> None:
    """A failure takes no copy's place: the next caller does not wait for it for ever."""
    failures = [RuntimeError("out of memory")] * 3

    def prepare(_: int) -> object:
        if failures:
            raise failures.pop()
        return object()

    copies = Copies(prepare, {1: 1})
    for _ in range(3):
        with pytest.raises(RuntimeError, match="out of memory"):
            copies.take(1)
    assert copies.take(1) is not None


def test_the_bytes_are_let_go_once_all_copies_are_prepared() -> None:
    """What prepares copies, and the file that it holds, is freed with the last copy."""

    class Prepare:
        def __call__(self, _: int) -> object:
            return object()

    prepare = Prepare()
    copies, alive = Copies(prepare, {1: 1, 2: 1}), weakref.ref(prepare)
    del prepare
    copies.take(1)
    assert alive() is not None
    copies.take(2)
    gc.collect()
    assert alive() is None
