"""What a database's errors mean to the store: which are conflicts, which outages, and which ask for a migration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from model_store.errors import Conflict, SchemaMismatch, StorageFull, StoreError, Unavailable

# SQLSTATEs of PostgreSQL, and SQLite's names of its errors.
_CONFLICTS = {"40001", "40P01", "55P03", "SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT"}  # serialization, deadlock, lock timeout
_DISK_FULL = {"53100", "SQLITE_FULL"}
_REFUSED = {"25006", "42501", "SQLITE_READONLY"}  # a read-only server or file, a missing privilege
_NO_SUCH_TABLE = {"42P01", "42703"}  # or column
_NO_SUCH_TABLE_TEXTS = ("no such table", "no such column", "has no column named")  # SQLite has no name for these


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLAlchemy's errors into the store's; what can only be a mistake of ours stays as it is."""
    try:
        yield
    except DBAPIError as error:
        if (meaning := _meaning(error)) is None:
            raise
        raise meaning from error


def lost_connection(error: BaseException) -> Unavailable:
    """Return what the store says of a database that cannot be reached, or is not any more."""
    return Unavailable(f"the database does not answer ({_first_line(error)}): check that it runs")


def _meaning(error: DBAPIError) -> StoreError | None:
    cause = error.orig or error
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", "")
    text = _first_line(cause)
    if isinstance(error, IntegrityError) or code in _CONFLICTS:
        return Conflict("somebody else writes the same resource at this moment: try again")
    if code in _DISK_FULL:
        return StorageFull("the database's disk is full: free some space, then try again")
    if code in _NO_SUCH_TABLE or any(each in text for each in _NO_SUCH_TABLE_TEXTS):
        return SchemaMismatch(
            f"the database lacks what this maas needs ({text}): stop the services, back the database up "
            "and run `maas store migrate`"
        )
    if code in _REFUSED:
        return Unavailable(
            f"the database refuses this ({text}): check its user's rights, and that it can be written to"
        )
    return lost_connection(cause) if isinstance(error, InterfaceError | OperationalError) else None


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
