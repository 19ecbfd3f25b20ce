"""The database: created at the current schema, migrated only when told to, clear when lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from model_store.blobs.local import LocalBlobs
from model_store.database import engine as database_module
from model_store.database.engine import Database, sqlite_url
from model_store.errors import DamagedStore, SchemaMismatch, Unavailable
from model_store.registry.models import ModelStore
from model_store.tables import Row
from tests.model_store.making import publication


def test_the_migrations_make_the_tables_that_the_code_declares(database: Database) -> None:
    """Alembic finds no difference between the migrated database and the rows' metadata."""
    engine = sqlalchemy.create_engine(database.url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Row.metadata) == []
    engine.dispose()


def test_processes_that_start_together_create_one_schema(tmp_path: Path) -> None:
    """Both services may find the database empty at the same moment; none of them meets a lock."""
    url = str(sqlite_url(tmp_path / "store.db"))
    script = f"from model_store.database.engine import Database; Database({url!r}).open_schema()"
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6


def test_an_older_schema_is_refused_with_the_command_to_run(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service does not migrate by itself: it says how to."""
    monkeypatch.setattr(database_module, "_head_revision", lambda: "9999")
    with pytest.raises(SchemaMismatch, match="maas store migrate"):
        database.open_schema()


def test_a_database_of_a_newer_release_asks_for_a_newer_maas(database: Database) -> None:
    """Neither a service nor the migration takes it, and neither names a command that cannot help."""
    with database.write() as session:
        session.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (database.open_schema, database.migrate):
        with pytest.raises(SchemaMismatch, match=r"9999.*newer") as caught:
            attempt()
        assert "maas store migrate" not in str(caught.value)


@pytest.mark.parametrize("content", [b"this is no database, but long enough to look like one" * 20, None])
def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    """A file of something else, and a database whose pages were overwritten; the operator is told which file."""
    file = tmp_path / "store.db"
    if content is None:
        whole = Database(sqlite_url(file))
        whole.open_schema()
        whole.close()
        content = bytearray(file.read_bytes())
        content[100:] = b"\xff" * (len(content) - 100)
    file.write_bytes(content)
    database = Database(sqlite_url(file))
    for attempt in (database.open_schema, database.migrate):
        with pytest.raises(DamagedStore, match=r"damaged.*restore it from a backup") as caught:
            attempt()
        assert str(file) not in str(caught.value)
        assert str(file) in caught.value.in_full


def test_a_folder_of_any_name_holds_its_database(tmp_path: Path) -> None:
    """What means something in a URL is an ordinary character of a folder."""
    folder = tmp_path / "what? now #1 %20 & more"
    Database(sqlite_url(folder / "store.db")).open_schema()
    assert (folder / "store.db").is_file()
    assert [each.name for each in tmp_path.iterdir()] == [folder.name]


def test_a_lost_database_is_unavailable(tmp_path: Path) -> None:
    """A server that does not answer is named as such, not as an internal error."""
    with pytest.raises(Unavailable, match="does not answer"):
        Database("postgresql://maas@127.0.0.1:1/maas?connect_timeout=1").open_schema()
    with pytest.raises(Unavailable):
        Database(sqlite_url(tmp_path)).open_schema()


def test_a_writer_killed_in_its_transaction_leaves_nothing(tmp_path: Path) -> None:
    """Kill -9 between the insert and the commit: the store opens, and shows complete versions only."""
    script = (
        "import os, signal, sys, pathlib\n"
        "from model_store.blobs.local import LocalBlobs\n"
        "from model_store.database.engine import Database, sqlite_url\n"
        "from model_store.registry import models as module\n"
        "from tests.model_store.making import publication\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "database = Database(sqlite_url(root / 'store.db')); database.open_schema()\n"
        "store = module.ModelStore(database, LocalBlobs(root / 'blobs'))\n"
        "store.publish(publication(store))\n"
        "module.move_alias = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.publish(publication(store, alias='production'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -9
    database = Database(sqlite_url(tmp_path / "store.db"))
    database.open_schema()
    store = ModelStore(database, LocalBlobs(tmp_path / "blobs"))
    assert store.get_model("flowers").last_number == 1
    assert store.publish(publication(store)).name.number == 2
