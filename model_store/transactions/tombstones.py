"""Tombstones: blobs that are being removed, so that no object store is asked while the writer lock is held.

A remover writes a blob's tombstone under the writer lock, after it has checked that no row names the blob. It then
removes the blob without a lock, and settles the tombstone. A publisher checks the object store first, and the
tombstones under the writer lock: a blob with a tombstone newer than that check, or an open one, must not be named. So
either the row is inserted before the tombstone, or the publisher gets Conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, not_, select, update
from sqlalchemy.orm import Session

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.errors import Conflict, Unavailable
from model_store.tables import TombstoneRow
from model_store.transactions.changes import take_writer_lock

_KEPT_FOR = timedelta(minutes=15)
"""An upper bound of the time from a writer's check to its writer lock, and of any request to an object store; after it
the blobs of a dead remover can be named again."""


@dataclass(frozen=True)
class SeenBlobs:
    """Blobs that the object store had at a moment: their bytes, and the newest tombstone before it."""

    sizes: Mapping[str, int]
    newest: int
    seen_at: datetime


def look_at(database: Database, blobs: BlobStore, digests: Iterable[str]) -> SeenBlobs:
    """Check that the object store has some blobs, before the transaction that names them.

    Raises MissingBlob, and Conflict where one of the blobs is being removed, present or not.
    """
    wanted, seen_at = list(digests), datetime.now(UTC)
    with database.read() as session:
        # In this order: a tombstone written in between counts as newer.
        newest = session.scalar(select(func.max(TombstoneRow.sequence))) or 0
        _check(session, wanted, not_(TombstoneRow.is_settled))
    return SeenBlobs(blobs.sizes(wanted), newest, seen_at)


def check_kept(session: Session, seen: SeenBlobs) -> None:
    """Raise Conflict where the removal of one of the blobs has begun since; the caller holds the writer lock."""
    if datetime.now(UTC) - seen.seen_at > _KEPT_FOR:
        raise Unavailable("the object store took too long to answer for the blobs: try again")
    _check(session, seen.sizes, TombstoneRow.sequence > seen.newest)


def _check(session: Session, digests: Iterable[str], condition: ColumnElement[bool]) -> None:
    is_young = TombstoneRow.buried_at > datetime.now(UTC) - _KEPT_FOR
    buried = select(TombstoneRow.digest).where(TombstoneRow.digest.in_(digests), is_young, condition).limit(1)
    if (digest := session.scalar(buried)) is not None:
        raise Conflict(f"blob {digest} is removed or repaired at this moment: store it again, and try again")


@contextmanager
def burying(
    write: Callable[[], AbstractContextManager[Session]], choose: Callable[[Session], Collection[str]]
) -> Iterator[Collection[str]]:
    """Write tombstones of the blobs that `choose` returns; the block, which holds no lock, removes these.

    `write` begins a transaction. Where the block fails the object store may still remove blobs, so the tombstones stay
    open.
    """
    with write() as session:
        take_writer_lock(session)
        digests = choose(session)
        rows = [TombstoneRow(digest=digest, buried_at=datetime.now(UTC)) for digest in digests]
        session.add_all(rows)
        session.execute(delete(TombstoneRow).where(TombstoneRow.buried_at < datetime.now(UTC) - _KEPT_FOR))
        session.flush()
        sequences = [row.sequence for row in rows]
    yield digests
    with write() as session:
        session.execute(update(TombstoneRow).where(TombstoneRow.sequence.in_(sequences)).values(is_settled=True))
