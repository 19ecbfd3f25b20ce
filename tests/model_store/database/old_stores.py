"""The databases of stores as each revision of the schema had them: `revision_0001.json` has the rows of the first.

`python -m tests.model_store.database.old_stores` writes the file of the current revision, once: before a migration is
added that follows it. Rows come from a call of every method that writes.
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command
from sqlalchemy import Connection, Engine, MetaData

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, _alembic_config, sqlite_url
from model_store.records.metrics import (
    ClassificationDetail,
    Interval,
    LabelMetrics,
    Metrics,
    MultiLabelDetail,
    RegressionDetail,
    TargetMetrics,
)
from model_store.records.resources import Dataset, Notes
from model_store.transactions.leases import WorkLease
from tests.model_store.database.test_lock_order import Setting
from tests.model_store.making import publication

FOLDER = Path(__file__).parent
_REVISIONS = "alembic_version"
_SEQUENCE = "sequence"


def revisions() -> list[str]:
    """Return the revisions that there are rows of, oldest first."""
    return sorted(path.stem.removeprefix("revision_") for path in FOLDER.glob("revision_*.json"))


def rows_of(revision: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a store of that revision, by table."""
    rows: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / f"revision_{revision}.json").read_text("utf-8"))
    return rows


def load(database: Database, revision: str) -> None:
    """Make an empty database one of that revision, with its rows."""
    engine = sqlalchemy.create_engine(database.url)
    with engine.begin() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    tables = _reflected(engine)
    rows = rows_of(revision)
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            for row in rows.get(table.name, ()):
                connection.execute(table.insert().values(_typed(table, row)))
        _go_on_counting(connection, tables)
    engine.dispose()


def write() -> Path:
    """Write the rows of a store of the current revision that has something of everything."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "store.db"))
        database.open_schema()
        setting = Setting(database, LocalBlobs(Path(folder) / "blobs"))
        for call in setting.calls().values():
            call()
        _add_what_no_call_needs(setting, database)
        engine = sqlalchemy.create_engine(database.url)
        tables = _reflected(engine)
        with engine.connect() as connection:
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
            rows = {
                table.name: [_plain(dict(row)) for row in connection.execute(table.select()).mappings()]
                for table in tables.sorted_tables
            }
        engine.dispose()
        database.close()
    file = FOLDER / f"revision_{revision}.json"
    file.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
    return file


def _add_what_no_call_needs(setting: Setting, database: Database) -> None:
    """Add tags, metrics of every task, a dataset with a pack, and a lease."""
    notes = Notes("about it", {"place": "hall"})
    setting.store.create_model("noted", notes)
    label = LabelMetrics("a", 0.5, 0.5, 0.5, 4)
    for detail in (
        ClassificationDetail((label,), ((4,),), 1.5),
        MultiLabelDetail((label,)),
        RegressionDetail((TargetMetrics("price", 1.0, 2.0, 0.5, (0.0,) * 5),)),
    ):
        metrics = Metrics("test", 4, {"a figure": 0.5}, {"a figure": Interval(0.4, 0.6)}, detail)
        setting.store.publish(publication(setting.store, "noted", metrics=metrics, notes=notes))
    pack = setting.blobs.put([b"pack"]).digest
    setting.datasets.register(Dataset("packed", pack, (pack,), 3, 4, {}, datetime.now(UTC)))
    WorkLease(database, "upkeep", "somebody", lease_seconds=3600, every_seconds=3600).take()


def _reflected(engine: Engine) -> MetaData:
    tables = MetaData()
    tables.reflect(engine)
    tables.remove(tables.tables[_REVISIONS])
    return tables


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _typed(table: sqlalchemy.Table, row: dict[str, Any]) -> dict[str, Any]:
    times = {column.name for column in table.columns if isinstance(column.type, sqlalchemy.DateTime)}
    return {name: _moment(value) if name in times and value is not None else value for name, value in row.items()}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _go_on_counting(connection: Connection, tables: MetaData) -> None:
    """Let PostgreSQL's sequences go on behind the rows that were inserted with their numbers."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables.sorted_tables:
        if _SEQUENCE in table.columns:
            name = f"pg_get_serial_sequence('{table.name}', '{_SEQUENCE}')"
            connection.exec_driver_sql(f"SELECT setval({name}, (SELECT max({_SEQUENCE}) FROM {table.name}))")  # noqa: S608


if __name__ == "__main__":
    print(write())  # noqa: T201
