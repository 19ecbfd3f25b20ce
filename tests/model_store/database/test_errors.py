"""What goes wrong on a real database server reaches callers as what they can act on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from model_store.database import engine as database_module
from model_store.database.engine import Database
from model_store.errors import Conflict, InvalidInput, SchemaMismatch, Unavailable

postgres_only = pytest.mark.parametrize("database", ["postgres"], indirect=True)


@pytest.fixture
def again(database: Database) -> Iterator[Callable[..., Database]]:
    """Opens the same database once more, with other settings in its URL."""
    opened = []

    def open_again(*, options: str = "", **query: str) -> Database:
        if not database.is_sqlite:
            query["options"] = f"{database.url.query['options']} {options}"
        opened.append(Database(database.url.update_query_dict(query).render_as_string()))
        return opened[-1]

    yield open_again
    for each in opened:
        each.close()


@pytest.fixture
def pair(database: Database) -> Iterator[Database]:
    """A database with a table of two rows, to quarrel over."""
    with database.write() as session:
        session.execute(text("CREATE TABLE pair (id integer PRIMARY KEY, value integer)"))
        session.execute(text("INSERT INTO pair VALUES (1, 0), (2, 0)"))
    return database


def add(session: Session, row: int) -> None:
    """Add one to a row, which locks it until the end of the transaction."""
    session.execute(text("UPDATE pair SET value = value + 1 WHERE id = :row"), {"row": row})


@postgres_only
def test_a_deadlock_is_a_conflict(pair: Database) -> None:
    """Of two writers that wait for one another one is told to try again, and the other's work is kept."""
    both_hold_one = threading.Barrier(2)

    def add_to_both(first: int, second: int) -> None:
        with pair.write() as session:
            add(session, first)
            both_hold_one.wait(10)
            add(session, second)

    with ThreadPoolExecutor(2) as pool:
        writers: list[Future[None]] = [pool.submit(add_to_both, 1, 2), pool.submit(add_to_both, 2, 1)]
        wait(writers)
    (failure,) = [error for writer in writers if (error := writer.exception())]
    assert isinstance(failure, Conflict)
    assert "try again" in str(failure)
    with pair.read() as session:
        assert list(session.scalars(text("SELECT value FROM pair"))) == [1, 1]


@postgres_only
def test_a_write_on_what_has_changed_since_is_a_conflict(pair: Database, again: Callable[..., Database]) -> None:
    """Where an operator has asked for stricter isolation, its failures are conflicts too."""
    strict = again(options="-c default_transaction_isolation=serializable")

    def read_then_add() -> None:
        with strict.write() as session:
            session.execute(text("SELECT * FROM pair")).all()
            with pair.write() as other:
                add(other, 1)
            add(session, 1)

    with pytest.raises(Conflict, match="try again"):
        read_then_add()


def test_waiting_too_long_for_another_writer_is_unavailable(
    pair: Database, again: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers wait on both servers, and on neither for ever."""
    monkeypatch.setattr(database_module, "_BUSY_TIMEOUT_SECONDS", 1)
    with pair.write() as holder:
        add(holder, 1)
        with pytest.raises(Unavailable, match=r"busy.*try again"), again().write() as session:
            add(session, 1)


def test_a_missing_table_asks_for_a_migration(database: Database) -> None:
    """As does a missing column: what the code expects, the database does not have."""
    for query in ("SELECT * FROM gone", "SELECT gone FROM models", "INSERT INTO models (gone) VALUES (1)"):
        with pytest.raises(SchemaMismatch, match="maas store migrate") as caught, database.write() as session:
            session.execute(text(query))
        assert "gone" in caught.value.detail


@postgres_only
def test_a_server_that_refuses_is_unavailable(database: Database, again: Callable[..., Database]) -> None:
    """A read-only copy and a user without rights are the operator's to mend; the message says what to look at."""
    copy = again(options="-c default_transaction_read_only=on")
    with pytest.raises(Unavailable, match="can be written to") as caught, copy.write() as session:
        session.execute(text("DELETE FROM models"))
    assert "read-only transaction" in caught.value.detail
    with database.write() as session:
        session.execute(text("DROP ROLE IF EXISTS guest"))
        session.execute(text("CREATE ROLE guest LOGIN"))
        session.execute(text(f"GRANT USAGE ON SCHEMA {session.scalar(text('SELECT current_schema'))} TO guest"))
    with pytest.raises(Unavailable, match="rights") as caught, again(user="guest").read() as session:
        session.execute(text("SELECT * FROM models"))
    assert "permission denied" in caught.value.detail


@postgres_only
def test_where_the_database_is_stays_with_the_operator(again: Callable[..., Database]) -> None:
    """Host, user and database are in the detail; a caller is told neither, and nobody the password."""
    lost = Database("postgresql://maas:secret@127.0.0.1:1/private?connect_timeout=1")
    for attempt in (lost.open_schema, lambda: again(user="nobody-here").open_schema()):
        with pytest.raises(Unavailable, match="does not answer") as caught:
            attempt()
        told = str(caught.value)
        assert not [word for word in ("127.0.0.1", "private", "nobody-here", "maas-postgres", "role") if word in told]
        assert "secret" not in caught.value.in_full
        assert caught.value.detail


def test_no_thread_waits_for_a_connection_of_another(database: Database) -> None:
    """Each gets one of its own, however many there are."""
    with ExitStack() as held:
        for _ in range(40):
            assert held.enter_context(database.read()).scalar(text("SELECT 1")) == 1


@postgres_only
def test_an_operator_finds_our_connections_and_overrules_our_settings(
    database: Database, again: Callable[..., Database]
) -> None:
    """Connections carry a name and bounded waits, unless the URL has other ones."""
    query = text("SELECT current_setting('application_name'), current_setting('lock_timeout')")
    with database.read() as session:
        name, timeout = session.execute(query).one()
    assert name.startswith("maas ")
    assert timeout == "30s"
    with again(options="-c lock_timeout=5s", application_name="ours").read() as session:
        assert session.execute(query).one() == ("ours", "5s")


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's driver is an extra: whoever has a URL but no driver is told what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidInput, match=r"pip install .*\[postgres\]"):
        Database("postgresql://maas@localhost/maas")


@pytest.mark.parametrize("url", ["mysql://localhost/maas", "postgresql+psycopg2://localhost/maas", "store.db"])
def test_other_databases_and_drivers_are_refused(url: str) -> None:
    """The message shows what a URL looks like."""
    with pytest.raises(InvalidInput, match=r"sqlite:///.*postgresql://"):
        Database(url)
