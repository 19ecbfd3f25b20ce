"""The change feed: every write to the registry, in the order of commits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from model_store.database import Database
from model_store.records import Change
from model_store.tables import ChangeRow

_FEED_LOCK = 0x6D616174  # next to the migration lock


def take_turn(session: Session) -> None:
    """Wait until no other writer of the feed, and no collector, is between here and its commit.

    SQLite has one writer at a time anyway; on PostgreSQL this is a lock that ends with the transaction.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _FEED_LOCK})


def append_change(session: Session, kind: str, resource: object) -> None:
    """Add an entry in the caller's transaction.

    Writers take turns: sequence numbers become visible in order, and a follower that has seen one has seen all before.
    """
    take_turn(session)
    session.add(ChangeRow(kind=kind, resource=str(resource), created_at=datetime.now(UTC)))


class ChangeFeed:
    """Reads the feed; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> int:
        """Return the sequence number of the newest change; 0 before the first."""
        with self._database.read() as session:
            return session.scalar(select(func.max(ChangeRow.sequence))) or 0

    def after(self, sequence: int, limit: int = 1000) -> tuple[Change, ...]:
        """Return the changes after this one, oldest first."""
        query = select(ChangeRow).where(ChangeRow.sequence > sequence).order_by(ChangeRow.sequence).limit(limit)
        with self._database.read() as session:
            return tuple(row.record() for row in session.scalars(query))

    def follow(self, after: int, *, stop: threading.Event, poll_seconds: float = 0.1) -> Iterator[tuple[Change, ...]]:
        """Yield batches of changes as they are committed, until `stop` is set.

        A batch is never empty. SQLite cannot wake another process, so the feed is polled: one indexed look-up a poll.
        """
        while not stop.is_set():
            if batch := self.after(after):
                after = batch[-1].sequence
                yield batch
            else:
                stop.wait(poll_seconds)
