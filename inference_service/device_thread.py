"""The thread that the device belongs to, and the way around it for work that is shorter than the way there and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class DeviceThread(ThreadPoolExecutor):
    """One thread with `num_threads` threads of PyTorch; only one piece of work has the device at a time.

    PyTorch keeps the number for each thread that calls it, so whoever uses `run_here` sets its own.
    """

    def __init__(self, num_threads: int) -> None:
        super().__init__(1, "device", initializer=torch.set_num_threads, initargs=(num_threads,))
        self._device = threading.Lock()

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Queue work for the thread."""
        return super().submit(self._alone, work, *args, **kwargs)

    def run_here(self, work: Callable[..., T], /, *args: Any) -> Future[T]:  # noqa: ANN401  what work takes
        """Run work in the calling thread where the device is free, else queue it."""
        if not self._device.acquire(blocking=False):
            return self.submit(work, *args)
        done: Future[T] = Future()
        try:
            done.set_result(work(*args))
        except Exception as error:  # noqa: BLE001  what the work raised goes to who reads the future, as with submit
            done.set_exception(error)
        finally:
            self._device.release()
        return done

    def _alone(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:  # noqa: ANN401  what work takes
        with self._device:
            return work(*args, **kwargs)
