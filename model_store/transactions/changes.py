"""The change feed: every write to the registry, in the order of commits.

Old changes are pruned from the start of the feed. The last of them stays as a mark, so that a follower who is behind
it knows that changes are missing, and no sequence number is ever given twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import takewhile

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from model_store.database.engine import Database
from model_store.database.principals import principal_of
from model_store.errors import Expired, Unavailable
from model_store.records.changes import Change, ChangeKind
from model_store.tables import ChangeRow

_FEED_LOCK = 0x6D616174  # next to the migration lock
_CHANNEL = "maas_changes"
_PRUNED = "pruned"  # kind of the mark: this change, and all before it, are gone
_STOP_SECONDS = 0.1  # how long a follower may take to notice that it should stop
_FALLBACK_SECONDS = 2.0  # a lost notification costs no more than this


def take_writer_lock(session: Session) -> None:
    """Wait until no other writer of the feed, and no collector, is between here and its commit.

    On PostgreSQL this is a lock that ends with the transaction; SQLite has one writer at a time, from its BEGIN on.
    """
    session.connection()  # a session begins with its first statement, and that may come too late
    if _on_postgres(session):
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _FEED_LOCK})


def append_change(session: Session, kind: ChangeKind, resource: object) -> None:
    """Add an entry in the caller's transaction; its commit wakes the followers.

    Writers take turns: sequence numbers become visible in order, and a follower that has seen one has seen all before.
    """
    take_writer_lock(session)
    change = ChangeRow(kind=kind, resource=str(resource), principal=principal_of(session), created_at=datetime.now(UTC))
    session.add(change)
    if _on_postgres(session):
        session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": _CHANNEL})


def prune_changes(session: Session, before: datetime, limit: int) -> int:
    """Remove changes that were made before this moment, the oldest first, at most `limit`; return how many went."""
    columns = ChangeRow.sequence, ChangeRow.kind, ChangeRow.created_at
    oldest = session.execute(select(*columns).order_by(ChangeRow.sequence).limit(limit)).all()
    due = list(takewhile(lambda row: row.created_at < before, oldest))
    if not due or due[-1].kind == _PRUNED:
        return 0
    mark = due[-1].sequence
    session.execute(delete(ChangeRow).where(ChangeRow.sequence < mark))
    pruned = {"kind": _PRUNED, "resource": "", "principal": ""}
    session.execute(update(ChangeRow).where(ChangeRow.sequence == mark).values(pruned))
    return sum(row.kind != _PRUNED for row in due)


class ChangeFeed:
    """Reads the feed; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> int:
        """Return the sequence number of the newest change; 0 before the first."""
        with self._database.read() as session:
            return session.scalar(select(func.max(ChangeRow.sequence))) or 0

    def after(self, sequence: int, limit: int = 1000) -> tuple[Change, ...]:
        """Return the changes after this one, oldest first.

        Raises Expired where some of them are not kept any more, or the feed ends before this one.
        """
        since = select(ChangeRow).where(ChangeRow.sequence >= sequence).order_by(ChangeRow.sequence).limit(limit + 1)
        with self._database.read() as session:
            found = [row.record() for row in session.scalars(since)]
        if sequence and not found:
            raise _expired(
                f"there is no change {sequence} (the database was restored, or is another one)", self.newest()
            )
        changes = tuple(change for change in found if change.sequence > sequence)[:limit]
        if changes and changes[0].kind == _PRUNED:
            raise _expired(f"changes up to {changes[0].sequence} are not kept any more", changes[0].sequence)
        return changes

    def follow(self, after: int, *, stop: threading.Event, poll_seconds: float = 0.1) -> Iterator[tuple[Change, ...]]:
        """Yield batches of changes as they are committed, until `stop` is set.

        Raises Unavailable with the database, and Expired where changes that were not yielded yet were pruned.

        A batch is never empty. PostgreSQL wakes its followers, and is read every few seconds besides, in case a
        notification is lost. SQLite cannot wake another process: one indexed look-up every `poll_seconds`.
        """
        with closing(self._moments_to_look(stop, poll_seconds)) as moments:
            for _ in moments:
                while not stop.is_set() and (batch := self.after(after)):
                    after = batch[-1].sequence
                    yield batch

    def _moments_to_look(self, stop: threading.Event, poll_seconds: float) -> Generator[None, None, None]:
        if self._database.is_sqlite:
            return _polls(stop, poll_seconds)
        return _notifications(self._database, stop, max(poll_seconds, _FALLBACK_SECONDS))


def _polls(stop: threading.Event, seconds: float) -> Generator[None, None, None]:
    while not stop.is_set():
        yield
        stop.wait(seconds)


def _notifications(database: Database, stop: threading.Event, seconds: float) -> Generator[None, None, None]:
    """Yield once listening, then at each notification and every so many seconds; listen again where that is lost."""
    while not stop.is_set():
        with database.listening(_CHANNEL) as heard:
            yield
            while _may_look_again(heard, stop, seconds):
                yield


def _may_look_again(heard: Callable[[float], bool], stop: threading.Event, seconds: float) -> bool:
    """Wait for a notification, or so many seconds; return False where nobody listens any more."""
    deadline = time.monotonic() + seconds
    try:
        while not stop.is_set() and time.monotonic() < deadline and not heard(_STOP_SECONDS):
            pass
    except Unavailable:
        stop.wait(_STOP_SECONDS)  # where every connection is lost at once, be no burden
        return False
    return not stop.is_set()


def _expired(reason: str, after: int) -> Expired:
    return Expired(f"{reason}: watch after {after}, then list what you follow once more")


def _on_postgres(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
