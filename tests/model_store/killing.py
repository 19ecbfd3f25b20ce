"""Writers that are killed at random moments, and what is left of their store; with many kills it is a measurement."""

from __future__ import annotations

import multiprocessing
import random
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from sqlalchemy import select

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.errors import Conflict, IllegalState, MissingBlob, NotFound
from model_store.names import AliasName, VersionName, parse_version
from model_store.records.resources import Lineage, Notes
from model_store.registry.models import ModelStore
from model_store.tables import ModelRow
from model_store.transactions.changes import ChangeFeed
from model_store.upkeep.findings import Problem
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from tests.model_store.making import age, age_unfinished, publication

_MODELS = ("birds", "cats", "dogs", "flowers")
_ALIASES = ("candidate", "production")
# What a writer is told where the other one was quicker, or where it drew something that is not there.
_TOLD = (IllegalState, NotFound, MissingBlob, Conflict)
_LONGEST_LIFE_SECONDS = 0.3
_GRACE_SECONDS = 60

# Children come from a process that has loaded everything and holds no connection: they start in no time.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "tests.model_store.killing"])


@dataclass
class Outcome:
    """What the checks after each kill found, what the killed writers had left, and what was left after collecting."""

    num_published: int = 0
    problems: list[Problem] = field(default_factory=list)
    models_with_wrong_numbers: list[str] = field(default_factory=list)
    num_torn_files: int = 0
    num_orphans: int = 0
    num_unfinished: int = 0


def kill_writers(database: Database, folder: Path, *, num_kills: int, seed: int) -> Outcome:
    """Let two writers work on one store and kill one or the other, again and again; check the store after each kill.

    At the end both are killed, and what can be collected is.
    """
    chance, outcome, checker = random.Random(seed), Outcome(), Checker(database, LocalBlobs(folder))
    writers = [_start(database, folder, each) for each in (seed, seed + 1)]
    for number in range(2, num_kills):
        victim = writers.pop(chance.randrange(2))
        _kill(victim, after_seconds=chance.uniform(0, _LONGEST_LIFE_SECONDS))
        outcome.problems += checker.check(deep=True).problems
        writers.append(_start(database, folder, seed + number))
    for writer in writers:
        _kill(writer)
    _finish(outcome, database, LocalBlobs(folder))
    return outcome


def _finish(outcome: Outcome, database: Database, blobs: LocalBlobs) -> None:
    """Check, collect and check again; then compare the numbers that were given with the counters."""
    outcome.problems += Checker(database, blobs).check(deep=True).problems
    outcome.num_torn_files = len(list(blobs.unfinished()))
    age(blobs)
    age_unfinished(blobs)
    Collector(database, blobs, grace_seconds=_GRACE_SECONDS).collect()
    report = Checker(database, blobs).check(deep=True)
    outcome.problems += report.problems
    outcome.num_orphans, outcome.num_unfinished = report.num_orphans, len(list(blobs.unfinished()))
    given: dict[str, list[int]] = defaultdict(list)
    for change in ChangeFeed(database).after(0, limit=10**9):
        if change.kind == "version_published":
            name = parse_version(change.resource, "resource")
            given[name.model_id].append(name.number)
            outcome.num_published += 1
    with database.read() as session:
        counters = {row.id: row.last_number for row in session.scalars(select(ModelRow))}
    for model_id, counter in counters.items():
        if sorted(given[model_id]) != list(range(1, counter + 1)):
            outcome.models_with_wrong_numbers.append(model_id)


def _start(database: Database, folder: Path, seed: int) -> ForkServerProcess:
    """Start a writer, and return when it has done something."""
    reader, writer = _context.Pipe(duplex=False)
    url = database.url.render_as_string(hide_password=False)
    process = _context.Process(target=_write_for_ever, args=(url, folder, seed, writer), daemon=True)
    process.start()
    writer.close()
    reader.recv()
    return process


def _kill(process: ForkServerProcess, after_seconds: float = 0.0) -> None:
    process.join(after_seconds)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "a writer ended by itself: see what it printed"


def _write_for_ever(url: str, folder: Path, seed: int, started: Connection) -> None:
    torch.set_num_threads(1)
    writer = _Writer(Database(url), LocalBlobs(folder), random.Random(seed))
    while True:
        try:
            writer.do_something()
        except _TOLD:
            continue
        if not started.closed:
            started.send("started")
            started.close()


class _Writer:
    """Does what users and operators do, in random order."""

    def __init__(self, database: Database, blobs: LocalBlobs, chance: random.Random) -> None:
        self._database, self._blobs, self._chance = database, blobs, chance
        self._stores = [ModelStore(database, blobs, kept_for=timedelta(0)), ModelStore(database, blobs)]

    def do_something(self) -> None:
        acts = {
            self._publish: 10,
            self._collect: 3,
            self._delete_version: 4,
            self._delete_model: 1,
            self._undelete: 2,
            self._move_alias: 3,
            self._end_alias: 1,
            self._update: 1,
        }
        (act,) = self._chance.choices(list(acts), list(acts.values()))
        act(self._chance.choice(self._stores))

    def _publish(self, store: ModelStore) -> None:
        base = self._version(store) if self._chance.random() < 0.5 else None
        seeds = tuple(self._chance.randrange(40) for _ in range(3))
        alias = self._chance.choice([None, *_ALIASES])
        store.publish(publication(store, self._model(), seeds, lineage=Lineage(base=base), alias=alias))

    def _collect(self, _store: ModelStore) -> None:
        age(self._blobs)
        Collector(self._database, self._blobs, grace_seconds=_GRACE_SECONDS).collect()

    def _delete_version(self, store: ModelStore) -> None:
        store.delete_version(self._version(store))

    def _delete_model(self, store: ModelStore) -> None:
        store.delete_model(self._model(), force=True)

    def _undelete(self, store: ModelStore) -> None:
        if self._chance.random() < 0.5:
            store.undelete_model(self._model())
        else:
            store.undelete_version(self._version(store))

    def _move_alias(self, store: ModelStore) -> None:
        version = self._version(store)
        name = AliasName(version.model_id, self._chance.choice(_ALIASES))
        if self._chance.random() < 0.3:
            store.roll_back_alias(name)
        else:
            store.set_alias(name, version)

    def _end_alias(self, store: ModelStore) -> None:
        store.delete_alias(AliasName(self._model(), self._chance.choice(_ALIASES)))

    def _update(self, store: ModelStore) -> None:
        store.update_version(self._version(store), lambda _: Notes("seen", {"team": self._chance.choice(_MODELS)}))

    def _model(self) -> str:
        return self._chance.choice(_MODELS)

    def _version(self, store: ModelStore) -> VersionName:
        """Draw one of the last few versions of a model: most of the older ones are gone."""
        model_id = self._model()
        last = store.get_model(model_id).last_number
        return VersionName(model_id, max(1, last - self._chance.randrange(6)))
