"""Runs threads in an order that a seed draws: one at a time, from one statement of the database to the next."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

import sqlalchemy
from sqlalchemy import Connection, Engine, event

from model_store.database.engine import Database

_BLOCKED_SECONDS = 0.01  # who has the turn for longer waits in the database for another


class Interleaver:
    """Gives the turn to one thread after the other.

    A thread that waits in the database cannot give its turn back: it loses it after a moment, and goes on beside
    another one until its next switch point.
    """

    def __init__(self, seed: int, num_threads: int) -> None:
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._num_threads = num_threads
        self._waiting: set[str] = set()
        self._blocked: set[str] = set()
        self._turn = ""
        self._given_at = 0.0

    def pause(self) -> None:
        """Wait for the next turn: a switch point."""
        name = threading.current_thread().name
        with self._changed:
            self._come(name)
            while self._turn != name:
                if not self._changed.wait(_BLOCKED_SECONDS):
                    self._pass_by_who_is_blocked()
            self._waiting.discard(name)

    def leave(self) -> None:
        """Take part no longer."""
        name = threading.current_thread().name
        with self._changed:
            self._num_threads -= 1
            self._come(name)
            self._waiting.discard(name)
            self._give()

    def _come(self, name: str) -> None:
        self._waiting.add(name)
        self._blocked.discard(name)
        if self._turn == name:
            self._turn = ""
        self._give()

    def _pass_by_who_is_blocked(self) -> None:
        if self._turn and time.monotonic() - self._given_at >= _BLOCKED_SECONDS:
            self._blocked.add(self._turn)
            self._turn = ""
            self._give()

    def _give(self) -> None:
        if not self._turn and self._waiting and len(self._waiting) + len(self._blocked) >= self._num_threads:
            self._turn = self._random.choice(sorted(self._waiting))
            self._given_at = time.monotonic()
            self._changed.notify_all()


@contextmanager
def switched(database: Database, interleaver: Interleaver) -> Iterator[list[BaseException]]:
    """Make every statement of a database a switch point, for the length of a block; give what the driver raised.

    On SQLite these are the beginnings of transactions: it has one writer at a time, from its BEGIN on.
    """
    engine: Engine = database._engine
    raised: list[BaseException] = []

    def before_statement(_: Connection, __: object, statement: str, *___: object) -> None:
        if not database.is_sqlite or statement.startswith("BEGIN"):
            pause()

    def before_commit(_: Connection) -> None:
        if not database.is_sqlite:
            pause()

    def pause() -> None:
        if threading.current_thread().name.startswith(PREFIX):
            interleaver.pause()

    def on_error(context: sqlalchemy.engine.ExceptionContext) -> None:
        raised.append(context.original_exception)

    listeners = {"before_cursor_execute": before_statement, "commit": before_commit, "handle_error": on_error}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield raised
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


PREFIX = "actor-"


def run_interleaved(interleaver: Interleaver, actors: Mapping[str, Callable[[], object]]) -> None:
    """Run each actor in a thread of its own, in the order of the interleaver; raise what one of them raised."""
    outcomes: list[Future[object]] = []

    def run(actor: Callable[[], object], outcome: Future[object]) -> None:
        try:
            interleaver.pause()
            outcome.set_result(actor())
        except BaseException as error:  # noqa: BLE001  raised again below
            outcome.set_exception(error)
        finally:
            interleaver.leave()

    threads = []
    for name, actor in actors.items():
        outcomes.append(Future())
        threads.append(threading.Thread(target=run, args=(actor, outcomes[-1]), name=f"{PREFIX}{name}"))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcome in outcomes:
        outcome.result()
