"""Paced write transactions: upkeep holds the writer lock for a short time, then leaves it to other writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from model_store.database.engine import Database

_MIN_REST_SECONDS = 0.1
"""The longest sleep of a SQLite writer that waits for the writer lock, in seconds."""
_REST = 2  # as a multiple of the previous transaction's time


class PacedWrites:
    """The write transactions of one piece of upkeep; use it in one thread."""

    def __init__(self, database: Database, pause: Callable[[float], None] = time.sleep) -> None:
        """Use `pause` to wait a number of seconds; an exception that it raises ends the work between transactions."""
        self._database = database
        self._pause = pause
        self._rest_seconds = 0.0

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Run a block in a write transaction, after a pause in which other writers can take the lock."""
        self.rest()
        started = time.monotonic()
        with self._database.write() as session:
            yield session
        self._rest_seconds = max(_MIN_REST_SECONDS, _REST * (time.monotonic() - started))

    def rest(self) -> None:
        """Pause for other writers; raise the errors of `pause`."""
        self._pause(self._rest_seconds)

    def check_going_on(self) -> None:
        """Raise the errors of `pause` if the work is to end; do not wait."""
        self._pause(0.0)
