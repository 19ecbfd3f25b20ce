"""Translation of database errors: conflicts, outages, and schemas that need a migration.

The driver's text names hosts, users and files: it goes into the detail of an error, never into its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, StatementError

from model_store.errors import Conflict, DamagedStore, SchemaMismatch, StorageFull, StoreError, Unavailable

# SQLSTATEs of PostgreSQL, and SQLite's names of its errors.
_MEANINGS: Sequence[tuple[frozenset[str], type[StoreError], str]] = (
    (
        frozenset({"40001", "40P01", "SQLITE_BUSY_SNAPSHOT"}),  # serialization, deadlock
        Conflict,
        _CONFLICT := "somebody else writes the same resource at this moment: try again",
    ),
    (
        frozenset({"55P03", "SQLITE_BUSY", "SQLITE_BUSY_RECOVERY", "SQLITE_BUSY_TIMEOUT", "SQLITE_LOCKED"}),
        Unavailable,
        "the database is busy, as another writer has held it for long: try again in a moment",
    ),
    (
        frozenset({"53100", "SQLITE_FULL"}),
        StorageFull,
        "the database's disk is full: free some space, then try again",
    ),
    (
        frozenset({"XX001", "XX002", "SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_NOTADB"}),
        DamagedStore,
        "the database is damaged: stop the services and restore it from a backup, or move it away to begin anew",
    ),
    (
        frozenset({"SQLITE_CANTOPEN", "SQLITE_CANTOPEN_ISDIR"}),
        Unavailable,
        "the database's file cannot be opened: check that its folder is there, and who may write to it",
    ),
    (
        frozenset({"42P01", "42703", _NO_SUCH_TABLE := "no such table"}),  # or column
        SchemaMismatch,
        "the database lacks a table or column: stop the services, back it up, and run `maas store migrate`",
    ),
    (
        frozenset({"25006", "42501", "SQLITE_READONLY"}),  # a read-only server or file, a missing privilege
        Unavailable,
        "the database refuses this: check its user's rights, and that it can be written to",
    ),
)
_NO_SUCH_TABLE_TEXTS = ("no such table", "no such column", "has no column named")  # SQLite has no name for these


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Translate SQLAlchemy's errors to the store's; an error that only a bug can cause stays as it is.

    `place` names the database, for the operator.
    """
    try:
        yield
    except DBAPIError as error:
        cause = error.orig or error
        if (meaning := meaning_of(cause, place)) is not None:
            raise meaning from error
        if isinstance(error, IntegrityError):
            raise Conflict(_CONFLICT, detail=_detail(cause, place)) from error
        if isinstance(error, InterfaceError | OperationalError):
            raise lost_connection(cause, place) from error
        raise
    except StatementError as error:  # an exception of a column's type
        if isinstance(error.orig, StoreError):
            raise error.orig from None
        raise


def lost_connection(error: BaseException, place: str) -> Unavailable:
    """Return the error for a database that cannot be reached."""
    return Unavailable(
        "the database does not answer: check that it runs and can be reached", detail=_detail(error, place)
    )


def refused_connection(error: BaseException, place: str) -> Unavailable:
    """Return what the store says of a database server that is up and refuses the connection."""
    return Unavailable(
        "the database server is up and refuses the connection: check user, password and database in "
        "MAAS_DATABASE_URL, and whom the server lets in",
        detail=_detail(error, place),
    )


def meaning_of(error: BaseException, place: str) -> StoreError | None:
    """Return the store's error for the code of a driver's error; None for other codes."""
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", "")
    if any(each in str(error) for each in _NO_SUCH_TABLE_TEXTS):
        code = _NO_SUCH_TABLE
    known = next(((kind, text) for codes, kind, text in _MEANINGS if code in codes), None)
    return known[0](known[1], detail=_detail(error, place)) if known is not None else None


def _detail(error: BaseException, place: str) -> str:
    return f"{place}: {str(error).strip().partition(chr(10))[0]}"
