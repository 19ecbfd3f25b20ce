"""The database: its engine, its transactions, and its schema.

`read()` and `write()` are the two units of work. On SQLite a write takes the lock at its start (BEGIN IMMEDIATE): a
transaction that reads first and then upgrades would fail with "database is locked" instead of waiting.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from model_store.database.errors import lost_connection, meaning_of, refused_connection, translated
from model_store.database.principals import act_for
from model_store.errors import InvalidInput, SchemaMismatch
from model_store.extras import remedy

_BUSY_TIMEOUT_SECONDS = 30  # longest wait of a writer for another one, on either server
_POOL = {"pool_size": 5, "max_overflow": -1}  # a pool of threads bounds them, so no thread waits for one
_MIGRATION_LOCK = 0x6D616173  # "maas", for PostgreSQL's advisory lock
_WRITE = "maas_write"


class Database:
    """Sessions on one database URL; safe to share between threads, not between processes."""

    def __init__(self, url: str | sqlalchemy.URL) -> None:
        self.url = _checked_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._place = str(self.url.database) if self.is_sqlite else self.url.render_as_string()  # without its password
        self._engine = _sqlite_engine(self.url) if self.is_sqlite else _server_engine(self.url)
        self._readers = sessionmaker(self._engine, expire_on_commit=False)
        self._writers = sessionmaker(self._engine.execution_options(**{_WRITE: True}), expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Run a block in one read transaction."""
        with translated(self._place), self._readers.begin() as session:
            yield session

    @contextmanager
    def write(self, principal: str = "") -> Iterator[Session]:
        """Run a block in one write transaction, on behalf of a principal: all of it is kept, or none."""
        with translated(self._place), self._writers.begin() as session:
            act_for(session, principal)
            yield session

    @contextmanager
    def listening(self, channel: str) -> Iterator[Callable[[float], bool]]:
        """Listen on a channel of PostgreSQL for the length of a block, on a connection outside the pool.

        The block gets a function for its own thread: it waits up to this number of seconds for a notification, and says
        whether one came. The function and entering the block raise Unavailable without a connection.
        """
        with self._driver_errors():
            pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()

        def heard(seconds: float) -> bool:
            with self._driver_errors():
                return bool(list(connection.notifies(timeout=seconds, stop_after=1)))

        with closing(connection):
            with self._driver_errors():
                connection.autocommit = True
                connection.execute(f"LISTEN {channel}")
            yield heard

    def check_admitted(self) -> None:
        """Raise Unavailable where the server is up and does not let this user in; it may be down without that.

        A driver's error says nothing of the kind, and its text is in the server's language. So libpq asks the server
        first whether it takes connections, from anybody; one that is then refused is refused for good.
        """
        if self.is_sqlite:
            return
        from psycopg import conninfo, pq  # noqa: PLC0415  an optional dependency

        _, arguments = self._engine.dialect.create_connect_args(self._engine.url)
        of_libpq = {name: value for name, value in arguments.items() if name != "context"}  # that is the driver's own
        if pq.PGconn.ping(conninfo.make_conninfo(**of_libpq).encode()) != pq.Ping.OK:
            return
        try:
            self._engine.raw_connection().close()
        except (self._engine.dialect.loaded_dbapi.Error, DBAPIError) as error:
            raise refused_connection(getattr(error, "orig", None) or error, self._place) from error

    def close(self) -> None:
        """Close every connection of the pool."""
        self._engine.dispose()

    def open_schema(self) -> None:
        """Create the schema in an empty database; raise SchemaMismatch for another schema than the current one."""
        with translated(self._place), self._migration_lock():
            if self._revision() is None:
                self._upgrade()
            found, wanted = self._revision(), _head_revision()
        if found != wanted:
            _check_known(found)
            raise SchemaMismatch(
                f"the database has schema {found}, this maas needs {wanted}: stop the services, back the database up "
                "and run `maas store migrate`"
            )

    def migrate(self) -> str:
        """Bring the schema to the current revision, one process at a time, and return that revision.

        Raises SchemaMismatch for the database of a newer maas.
        """
        with translated(self._place), self._migration_lock():
            if (found := self._revision()) is not None:
                _check_known(found)
            self._upgrade()
        return _head_revision()

    def _upgrade(self) -> None:
        from alembic import command  # noqa: PLC0415  slow to import, and rarely needed

        if self.is_sqlite:
            with self._driver_errors():
                _use_write_ahead_log(self._engine)
        with self._engine.execution_options(**{_WRITE: True}).begin() as connection:
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def _revision(self) -> str | None:
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

        with self._engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    @contextmanager
    def _driver_errors(self) -> Iterator[None]:
        """Translate exceptions that bypass SQLAlchemy."""
        try:
            with translated(self._place):
                yield
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise meaning_of(error, self._place) or lost_connection(error, self._place) from error

    @contextmanager
    def _migration_lock(self) -> Iterator[None]:
        if self.is_sqlite:
            with FileLock(f"{self.url.database}.migrate.lock"):
                yield
            return
        with self._engine.connect() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")  # a migration may take its time
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})")
            try:
                yield
            finally:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_MIGRATION_LOCK})")


def sqlite_url(path: Path) -> sqlalchemy.URL:
    """Return the URL of an SQLite database in this file; the name may contain any characters."""
    return sqlalchemy.URL.create("sqlite", database=str(path))


def _checked_url(text: str | sqlalchemy.URL) -> sqlalchemy.URL:
    try:
        url = sqlalchemy.make_url(text)
    except ArgumentError as error:
        raise InvalidInput.of(
            "database_url", f"must be sqlite:///FILE or postgresql://USER@HOST/DATABASE ({error})"
        ) from error
    if url.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"}:
        raise InvalidInput.of("database_url", f"must be sqlite:///… or postgresql://…, not {url.drivername}://…")
    return url


def _sqlite_engine(url: sqlalchemy.URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_SECONDS}, **_POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _server_engine(url: sqlalchemy.URL) -> Engine:
    try:
        # Network devices may cut idle connections: each is tested before use, and few are kept.
        engine = sqlalchemy.create_engine(_server_url(url), pool_pre_ping=True, pool_use_lifo=True, **_POOL)
    except ImportError as error:
        raise InvalidInput.of(
            "database_url",
            f"names PostgreSQL, whose driver is not here ({error}): {remedy('postgres')}",
        ) from error
    event.listen(engine, "connect", _prepare_server)
    return engine


def _server_url(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """Return the URL with default settings of a connection; settings in the URL win."""
    defaults = {
        "connect_timeout": "10",
        "fallback_application_name": f"maas {Path(sys.argv[0]).stem}",
        # A network that goes away without a word is noticed within a minute, not within two hours.
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
    }
    # SQLAlchemy 2.0 would take psycopg2 for a plain postgresql://.
    return url.set(drivername="postgresql+psycopg", query={**defaults, **url.query})


def _prepare_server(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's connection
    """Bound the wait for locks, as SQLite does, unless the operator has bound it already."""
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false) WHERE current_setting('lock_timeout') = '0'",
        [f"{_BUSY_TIMEOUT_SECONDS}s"],
    )
    connection.commit()


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's connection
    connection.isolation_level = None  # the driver must not open transactions itself
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_write_ahead_log(engine: Engine) -> None:
    """Let readers and the writer work side by side; the file remembers it.

    Call it under the migration lock: SQLite refuses this change, without waiting, while anybody else looks at the file.
    """
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _alembic_config() -> Any:  # noqa: ANN401  alembic.config.Config, imported late
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    folder = Path(__file__).parents[1] / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))  # a configuration file's own escape
    return config


def _check_known(revision: str | None) -> None:
    """Raise SchemaMismatch for the revision of a newer maas, from which no command leads back."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    known = [script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()]
    if revision not in known:
        raise SchemaMismatch(
            f"the database has schema {revision}, which this maas does not know: the database is a newer maas's, so "
            "upgrade this one, or restore the backup that was made before the upgrade"
        )


def _head_revision() -> str:
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    if head is None:
        raise SchemaMismatch("this installation of maas has no migrations: install it again")
    return head
