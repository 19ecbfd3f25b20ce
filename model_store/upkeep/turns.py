"""Short write transactions with rests in between: upkeep takes its turns, and all other writers have theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from model_store.database.engine import Database

_MIN_REST_SECONDS = 0.1
"""The longest that a writer of SQLite sleeps before it looks again whether the database is free."""
_REST = 2  # times as long as the turn before


class Turns:
    """The write transactions of one piece of upkeep; use it in one thread."""

    def __init__(self, database: Database, pause: Callable[[float], None] = time.sleep) -> None:
        """Take what waits so many seconds; an exception of it ends the work between two transactions."""
        self._database = database
        self._pause = pause
        self._rest_seconds = 0.0

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Run a block in a write transaction, once other writers had time for theirs."""
        self.rest()
        started = time.monotonic()
        with self._database.write() as session:
            yield session
        self._rest_seconds = max(_MIN_REST_SECONDS, _REST * (time.monotonic() - started))

    def rest(self) -> None:
        """Leave other writers time for their transactions; raise what `pause` raises."""
        self._pause(self._rest_seconds)

    def check_going_on(self) -> None:
        """Raise what `pause` raises where the work is to end; it waits for nothing."""
        self._pause(0.0)
