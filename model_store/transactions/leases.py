"""Leases in the database: one of several processes does periodic work, and a dead owner is replaced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from model_store.database.engine import Database
from model_store.errors import LeaseLost
from model_store.tables import LeaseRow


class WorkLease:
    """One process' view of the lease on one kind of work; safe to share between threads."""

    def __init__(
        self, database: Database, work: str, owner: str, *, lease_seconds: float, every_seconds: float
    ) -> None:
        """`lease_seconds`: the time for which an owner may be silent; `every_seconds`: the interval of the work."""
        self._database = database
        self._work = work
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)
        self._every = timedelta(seconds=every_seconds)

    def take(self) -> bool:
        """Take the lease where the work is due and no live process has it; return whether it was taken."""
        now = datetime.now(UTC)
        is_free = or_(LeaseRow.owner.is_(None), LeaseRow.expires_at < now)
        is_due = or_(LeaseRow.done_at.is_(None), LeaseRow.done_at <= now - self._every)
        with self._database.read() as session:
            row = session.get(LeaseRow, self._work)
            if row is not None and session.scalar(select(LeaseRow.work).where(self._is_it, is_free, is_due)) is None:
                return False
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        with self._database.write() as session:
            session.execute(insert(LeaseRow).values(work=self._work).on_conflict_do_nothing())
            taken = update(LeaseRow).where(self._is_it, is_free, is_due).returning(LeaseRow.work)
            values = {"owner": self._owner, "expires_at": now + self._lease}
            return session.scalar(taken.values(values)) is not None

    def renew(self) -> None:
        """Extend the lease; raise LeaseLost where it expired and another process has it."""
        self._change(expires_at=datetime.now(UTC) + self._lease)

    def give_back(self, *, is_done: bool) -> None:
        """Release the lease, and record whether the work was done; raise LeaseLost as `renew` does."""
        done = {"done_at": datetime.now(UTC)} if is_done else {}
        self._change(owner=None, expires_at=None, **done)

    @property
    def _is_it(self) -> ColumnElement[bool]:
        return LeaseRow.work == self._work

    def _change(self, **values: datetime | None) -> None:
        with self._database.write() as session:
            held = update(LeaseRow).where(self._is_it, LeaseRow.owner == self._owner).returning(LeaseRow.work)
            if session.scalar(held.values(values)) is None:
                raise LeaseLost(f"the lease on {self._work} is no longer held by {self._owner}")
