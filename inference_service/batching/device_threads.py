"""The threads that use the device, and running a short batch in the calling thread instead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def set_torch_threads(num_threads: int) -> None:
    """Set the number of PyTorch's intra-op threads for the calling thread only.

    A thread's first `get_num_threads` returns the number that any thread has set last, and overwrites the thread's own:
    so it is called before `set_num_threads`.
    """
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)


class DeviceThreads(ThreadPoolExecutor):
    """One thread for each of the `num_batches` that run at once, each with `num_threads` intra-op threads of PyTorch.

    Other work than batches has the device alone. PyTorch keeps the number of intra-op threads per calling thread, so a
    caller of `run_here` sets its own.
    """

    def __init__(self, num_threads: int, num_batches: int = 1) -> None:
        super().__init__(num_batches, "device", initializer=set_torch_threads, initargs=(num_threads,))
        self.num_batches = num_batches
        self._permits = threading.Semaphore(num_batches)
        self._turn = threading.Lock()

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Queue work that has the device alone."""
        return super().submit(self._run, self.num_batches, work, *args, **kwargs)

    def submit_batch(self, work: Callable[..., T], /, *args: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Queue work that may run beside another batch."""
        return super().submit(self._run, 1, work, *args)

    def run_here(self, work: Callable[..., T], /, *args: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Run a batch in the calling thread where the device is free for it, else queue it."""
        if not self._permits.acquire(blocking=False):
            return self.submit_batch(work, *args)
        done: Future[T] = Future()
        try:
            done.set_result(work(*args))
        except Exception as error:  # noqa: BLE001  goes to the reader of the future, as with submit
            done.set_exception(error)
        finally:
            self._permits.release()
        return done

    def _run(self, num_permits: int, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        with self._holding(num_permits):
            return work(*args, **kwargs)

    @contextmanager
    def _holding(self, num_permits: int) -> Iterator[None]:
        with self._turn:  # else two that need all permits could each hold half, and wait for one another
            for _ in range(num_permits):
                self._permits.acquire()
        try:
            yield
        finally:
            self._permits.release(num_permits)
