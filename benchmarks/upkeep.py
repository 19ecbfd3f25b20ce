"""A year of use, and what the keeper leaves of it: rows and bytes against the ages, and how long writers wait.

    python -m benchmarks.upkeep [--quick] [--json FILE] [--only once weekly] [--folder DIR]

`once` lets a year pile up in SQLite before the first round; `weekly` does a round each week. SQLite gives no page back
to the disk: it uses those of removed rows for the next ones. So a store that is kept from the start has a file as large
as its ages say, and one that was not has room in its file for what it had once.

Learnt on the way: a keeper that takes the next turn as soon as it has given the last one back starves other writers of
SQLite, which sleep up to 100 ms before they look again; they waited for seconds, through the whole round.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.harness.figures import Figure, Options, Part, percentile, run_parts
from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.records.changes import ChangeKind
from model_store.transactions.changes import append_change
from model_store.upkeep.history import HistoryPruner
from model_store.upkeep.paced_writes import PacedWrites
from model_store.upkeep.steps import Ages, Upkeep
from tests.model_store.year import Span, Use, allowed, count, fill, last_days

DAYS, WEEKS = 365, 52
AGES = Ages(jobs=timedelta(days=180))


def once(folder: Path, options: Options) -> Iterator[Figure]:
    """One round after a year: what is left, and what it costs those who write meanwhile."""
    use = Use(30_000, 30_000, 300) if options.quick else Use(1_000_000, 1_000_000, 10_000)
    blobs = LocalBlobs(folder / "blobs")
    with closing(_database(folder)) as database:
        fill(database, blobs, use, last_days(DAYS))
        before, bytes_before = count(database), _used_bytes(folder)
        alone = _seconds_of_writers(folder, options)
        most = allowed(use, last_days(DAYS), AGES, datetime.now(UTC))
        with _writing(folder) as waits:
            started = time.perf_counter()
            for step in Upkeep(database, blobs, AGES).steps().values():
                step()
            seconds = time.perf_counter() - started
        kept = count(database)
        kept["changes"] -= len(waits) + len(alone)
        for name, number in kept.items():
            yield Figure(
                f"{name}: {before[name]:,} rows before, left / allowed by age", number / most[name], "x", "<= 1"
            )
            yield Figure(f"{name}: rows left", number, "")
        yield Figure("blobs left / checkpoints left", len(list(blobs.all())) / max(kept["checkpoints"], 1), "x", "<= 1")
        yield Figure("database: bytes in use before", bytes_before, "B")
        used, fresh = _used_bytes(folder), _fresh_bytes(folder)
        yield Figure("database: bytes in use after / in a new file of the same rows", used / fresh, "x", "<= 1.3")
        yield Figure("the round", seconds, "s")
        yield Figure(
            f"{len(waits)} writes of others in the round: 99th percentile", percentile(waits, 0.99) * 1e3, "ms"
        )
        yield Figure("writes of others alone: 99th percentile", percentile(alone, 0.99) * 1e3, "ms")
        yield Figure("writes of others in the round: the longest", max(waits) * 1e3, "ms", "<= 500")


def weekly(folder: Path, options: Options) -> Iterator[Figure]:
    """A round each week of a year: the file is as large as what the ages allow."""
    use = Use(1000, 1000, 10) if options.quick else Use(1_000_000 // WEEKS, 1_000_000 // WEEKS, 10_000 // WEEKS)
    blobs, start = LocalBlobs(folder / "blobs"), datetime.now(UTC) - timedelta(weeks=WEEKS)
    with closing(_database(folder)) as database:
        for week in range(WEEKS):
            end = start + timedelta(weeks=week + 1)
            fill(database, blobs, use, Span(end - timedelta(weeks=1), end), first_job=week * use.num_jobs)
            pruner, ahead = (
                HistoryPruner(database, PacedWrites(database, lambda _: None)),
                datetime.now(UTC) - end,
            )  # as if it were the end of that week
            pruner.prune_changes(AGES.changes + ahead)
            pruner.prune_events(AGES.events + ahead)
            pruner.prune_jobs(AGES.jobs + ahead)
        # A week is added before it is pruned.
        file_bytes, fresh = _file_bytes(folder), _fresh_bytes(folder)
        yield Figure(
            "database: bytes of the file / of a new file of the rows that are left", file_bytes / fresh, "x", "<= 1.5"
        )
        yield Figure("database: bytes of the file", file_bytes, "B")


def _database(folder: Path) -> Database:
    database = Database(sqlite_url(folder / "store.db"))
    database.open_schema()
    return database


def _used_bytes(folder: Path) -> int:
    """Return the bytes of the pages that hold something."""
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        names = "page_count", "freelist_count", "page_size"
        pages, free, size = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return (pages - free) * size


def _file_bytes(folder: Path) -> int:
    """Return the bytes of the database's file, with what is in its log."""
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (folder / "store.db").stat().st_size


def _fresh_bytes(folder: Path) -> int:
    """Return the bytes of a new file with the same rows."""
    path = folder / "fresh.db"
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        connection.execute("VACUUM INTO ?", [str(path)])
    return path.stat().st_size


def _seconds_of_writers(folder: Path, options: Options) -> list[float]:
    """Return how long writers take while nobody else works."""
    with _writing(folder) as waits:
        time.sleep(1 if options.quick else 5)
    return waits


@contextmanager
def _writing(folder: Path) -> Iterator[list[float]]:
    """Let a process write a change after the other; give a list that gets the seconds of each at the end."""
    context = multiprocessing.get_context("spawn")
    stop, ours, theirs = context.Event(), *context.Pipe(duplex=False)
    process = context.Process(target=_write, args=(folder, stop, theirs))
    process.start()
    assert ours.recv() == "ready"
    waits: list[float] = []
    try:
        yield waits
    finally:
        stop.set()
        waits += ours.recv()
        process.join()


def _write(folder: Path, stop: Event, told: multiprocessing.connection.Connection) -> None:
    waits = []
    with closing(Database(sqlite_url(folder / "store.db"))) as database:
        told.send("ready")
        while not stop.wait(0.005):
            started = time.perf_counter()
            with database.write() as session:
                append_change(session, ChangeKind.MODEL_UPDATED, "models/flowers")
            waits.append(time.perf_counter() - started)
    told.send(waits)


PARTS: dict[str, Part] = {part.__name__: part for part in (once, weekly)}

if __name__ == "__main__":
    run_parts("keeping", __doc__ or "", PARTS)
