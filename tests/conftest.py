"""Fixtures that every folder of tests shares: a real database and a real folder of blobs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy

from model_store.blobs import BlobStore
from model_store.database import Database, sqlite_url
from model_store.store import ModelStore

# The same examples on every machine: a red run can be repeated.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the tests do."""
    folder = _postgres_programs()
    if folder is None:
        pytest.skip("no PostgreSQL programs (initdb, pg_ctl) on this machine")
    data = tmp_path_factory.mktemp("postgres")
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user is not None:
        for each in (data, *data.parents[:2]):
            each.chmod(0o755)
        shutil.chown(data, user)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, cwd=data)

    cluster, log = str(data / "cluster"), str(data / "log")
    run(str(folder / "initdb"), "-D", cluster, "-A", "trust", "-U", "maas", "--no-sync")
    options = f"-k {data} -c listen_addresses='' -c fsync=off"
    run(str(folder / "pg_ctl"), "-D", cluster, "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql+psycopg://maas@/postgres?host={data}"
    finally:
        run(str(folder / "pg_ctl"), "-D", cluster, "-m", "immediate", "-w", "stop")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database at the current schema, on each kind of server."""
    if request.param == "sqlite":
        database = Database(sqlite_url(tmp_path / "store.db"))
    else:
        database = _new_postgres_database(request.getfixturevalue("postgres"))
    database.open_schema()
    yield database
    database.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    """An empty blob store in a real folder."""
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def store(database: Database, blobs: BlobStore) -> ModelStore:
    """A model store on both."""
    return ModelStore(database, blobs)


def _new_postgres_database(url: str) -> Database:
    """Return a database whose tables live in a schema of their own, so that tests do not meet."""
    name = f"test_{os.urandom(8).hex()}"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    return Database(f"{url}&options=-csearch_path%3D{name}")


def _postgres_programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)
