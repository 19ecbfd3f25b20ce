"""The threads from which the device is used, and the way around them for work that is shorter than the way there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def set_torch_threads(num_threads: int) -> None:
    """Let the calling thread compute with so many of PyTorch's threads, whatever other threads set for themselves.

    A thread that asks for the first time gets what any thread has set last, and loses what it has set itself: so it
    asks before it sets.
    """
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)


class DeviceThreads(ThreadPoolExecutor):
    """Threads with `num_threads` threads of PyTorch each: one for each of the `num_batches` that run at once.

    Whatever is no batch has the device alone. PyTorch keeps the number of its threads for each thread that calls it, so
    whoever uses `run_here` sets its own.
    """

    def __init__(self, num_threads: int, num_batches: int = 1) -> None:
        super().__init__(num_batches, "device", initializer=set_torch_threads, initargs=(num_threads,))
        self._num_batches = num_batches
        self._places = threading.Semaphore(num_batches)
        self._turn = threading.Lock()

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Queue work that has the device alone."""
        return super().submit(self._run, self._num_batches, work, *args, **kwargs)

    def submit_batch(self, work: Callable[..., T], /, *args: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Queue work that may run beside another batch."""
        return super().submit(self._run, 1, work, *args)

    def run_here(self, work: Callable[..., T], /, *args: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Run a batch in the calling thread where the device has a place for it, else queue it."""
        if not self._places.acquire(blocking=False):
            return self.submit_batch(work, *args)
        done: Future[T] = Future()
        try:
            done.set_result(work(*args))
        except Exception as error:  # noqa: BLE001  what the work raised goes to who reads the future, as with submit
            done.set_exception(error)
        finally:
            self._places.release()
        return done

    def _run(self, num_places: int, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        with self._holding(num_places):
            return work(*args, **kwargs)

    @contextmanager
    def _holding(self, num_places: int) -> Iterator[None]:
        with self._turn:  # two that want all places would else wait for one another with half of them each
            for _ in range(num_places):
                self._places.acquire()
        try:
            yield
        finally:
            self._places.release(num_places)
