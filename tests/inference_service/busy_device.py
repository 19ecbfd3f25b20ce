"""A device that is busy while a block runs, and what waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from model_store.names import VersionName
from tests.inference_service.running import RunningService

FLOWERS = "models/flowers"

FIRST, SECOND = VersionName("flowers", 1), VersionName("flowers", 2)


@contextmanager
def busy_device(service: RunningService) -> Iterator[None]:
    """Keep the service's device busy while the block runs."""
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        taken.set()
        free.wait()

    service.server._scheduler._runner._device_threads.submit(hold)
    assert taken.wait(10)  # from here on, what is in the thread's queue is a batch
    try:
        yield
    finally:
        free.set()


def waiting_rows(service: RunningService) -> int:
    """Return how many rows wait for the device."""
    return service.server._scheduler.snapshot().waiting_cost


def queued_rows(service: RunningService) -> int:
    """Return how many of those rows are decoded, and in a queue."""
    return service.server._scheduler.snapshot().num_queued_rows


def has_batch(service: RunningService) -> bool:
    """Say whether a batch was handed to the busy device."""
    return service.server._scheduler.snapshot().num_running_batches > 0


def fail(*_: object) -> None:
    """Fail as a stage with a fault does."""
    raise ZeroDivisionError("secret")


def served(service: RunningService) -> list[object]:
    """Return the versions of the one model, loaded or not."""
    return list(service.server._manager._models.by_id["flowers"].versions.values())
