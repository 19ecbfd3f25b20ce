"""The change feed: every write to the registry, in the order of commits.

Old changes are pruned from the start of the feed. The last pruned one stays as a mark: a follower behind it knows that
changes are missing, and no sequence number is reused.
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
_PRUNED = "pruned"  # kind of the mark: this change and all earlier ones are pruned
_STOP_SECONDS = 0.1  # the longest time until a follower notices `stop`
_FALLBACK_SECONDS = 2.0  # the longest delay by a lost notification


def take_writer_lock(session: Session) -> None:
    """Take the writer lock until the transaction ends: writers of the feed and collectors exclude one another.

    On PostgreSQL it is an advisory lock of the transaction; SQLite has one writer at a time from BEGIN on.
    """
    session.connection()  # begin the transaction now: a session begins with its first statement
    if _on_postgres(session):
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _FEED_LOCK})


def append_change(session: Session, kind: ChangeKind, resource: object) -> None:
    """Add an entry in the caller's transaction; its commit wakes the followers.

    The writer lock orders commits: a follower that has seen a sequence number has seen all smaller ones.
    """
    take_writer_lock(session)
    change = ChangeRow(kind=kind, resource=str(resource), principal=principal_of(session), created_at=datetime.now(UTC))
    session.add(change)
    if _on_postgres(session):
        session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": _CHANNEL})


def prune_changes(session: Session, before: datetime, limit: int) -> int:
    """Remove changes made before this moment, oldest first, at most `limit`; return their number."""
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

        Raises Expired where some of them were pruned, or the feed ends before this number.
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

        Raises Unavailable without the database, and Expired where changes were pruned before they were read.

        A batch is never empty. PostgreSQL notifies followers, which also poll every few seconds in case a notification
        is lost. SQLite cannot notify: followers make one indexed query every `poll_seconds`.
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
    """Yield once listening, then at each notification and timeout; listen again after a lost connection."""
    while not stop.is_set():
        with database.listening(_CHANNEL) as heard:
            yield
            while _may_look_again(heard, stop, seconds):
                yield


def _may_look_again(heard: Callable[[float], bool], stop: threading.Event, seconds: float) -> bool:
    """Wait for a notification or a timeout; return False where the connection is lost."""
    deadline = time.monotonic() + seconds
    try:
        while not stop.is_set() and time.monotonic() < deadline and not heard(_STOP_SECONDS):
            pass
    except Unavailable:
        stop.wait(_STOP_SECONDS)  # do not reconnect in a tight loop
        return False
    return not stop.is_set()


def _expired(reason: str, after: int) -> Expired:
    return Expired(f"{reason}: watch after {after}, then list what you follow once more")


def _on_postgres(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
