"""Batches may run beside one another on the device, and nothing else beside them."""

from __future__ import annotations

import threading

import torch

from inference_service.batching.device_threads import DeviceThreads


class Held:
    """Work that says when it has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()

    def __call__(self) -> int:
        """Return the thread's number."""
        self.begun.set()
        assert self.free.wait(10)
        return threading.get_ident()


def test_two_batches_run_at_once_where_there_is_room_for_two() -> None:
    """Each in a thread of its own."""
    first, second = Held(), Held()
    with DeviceThreads(1, num_batches=2) as threads:
        running = [threads.submit_batch(each) for each in (first, second)]
        assert first.begun.wait(10)
        assert second.begun.wait(10)
        first.free.set()
        second.free.set()
        assert len({each.result() for each in running}) == 2


def test_one_batch_waits_for_another_where_there_is_room_for_one() -> None:
    """And then runs."""
    first, second = Held(), Held()
    with DeviceThreads(1) as threads:
        running = [threads.submit_batch(each) for each in (first, second)]
        assert first.begun.wait(10)
        assert not second.begun.is_set()
        first.free.set()
        second.free.set()
        assert len({each.result() for each in running}) == 1


def test_what_is_no_batch_has_the_device_alone() -> None:
    """It waits for the batches that run, and those that come later wait for it, the calling thread's among them."""
    batch, alone, later, here = Held(), Held(), Held(), Held()
    with DeviceThreads(1, num_batches=2) as threads:
        running = [threads.submit_batch(batch)]
        assert batch.begun.wait(10)
        running += [threads.submit(alone)]
        assert not alone.begun.is_set()
        batch.free.set()
        assert alone.begun.wait(10)
        running += [threads.submit_batch(later), threads.run_here(here)]
        assert not later.begun.is_set()
        assert not here.begun.is_set()
        for each in (alone, later, here):
            each.free.set()
        assert threading.get_ident() not in {each.result() for each in running}


def test_a_batch_runs_in_the_calling_thread_where_there_is_room() -> None:
    """And what it raises is in its future."""
    held = Held()
    held.free.set()
    with DeviceThreads(1) as threads:
        assert threads.run_here(held).result() == threading.get_ident()
        assert isinstance(threads.run_here(divmod, 1, 0).exception(), ZeroDivisionError)
        assert threads.submit_batch(held).result() != threading.get_ident()


def test_each_thread_keeps_its_own_number_of_threads() -> None:
    """Whatever another one sets, before or after it computes for the first time."""

    def count() -> int:
        return torch.get_num_threads()

    before = torch.get_num_threads()
    with DeviceThreads(3) as of_three, DeviceThreads(1) as of_one:
        of_three.submit(threading.get_ident).result()
        assert of_one.submit(count).result() == 1
        assert of_three.submit(count).result() == 3
    assert torch.get_num_threads() == before
