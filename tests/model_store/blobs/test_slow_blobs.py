"""An object store that answers late: no writer waits for it but the one that asks, and nothing it loses is named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.errors import Conflict, StoreError
from model_store.names import VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobCheckpoint, JobSpec
from model_store.records.resources import Dataset, Notes
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.tables import TombstoneRow
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from model_store.upkeep.repair import Repairer
from tests.model_store.making import age, publication, registered_dataset

_ASKING = ("has", "size", "delete", "verify", "quarantine")


class SlowBlobs(LocalBlobs):
    """A real folder; `before` gets the name of each question that is put to it, and `after_sizes` follows an answer."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before: Callable[[str], None] = lambda _: None
        self.after_sizes: Callable[[], None] = lambda: None

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        found = super().sizes(digests)
        self.after_sizes()
        return found


def _asking(name: str) -> Any:
    def ask(self: SlowBlobs, *arguments: Any, **more: Any) -> Any:
        self.before(name)
        return getattr(LocalBlobs, name)(self, *arguments, **more)

    return ask


for _name in _ASKING:
    setattr(SlowBlobs, _name, _asking(_name))


class Setting:
    """A store on slow blobs with a running job, and what names blobs in it."""

    def __init__(self, database: Database, blobs: SlowBlobs) -> None:
        self.database, self.blobs = database, blobs
        self.store = ModelStore(database, blobs)
        self.jobs = JobStore(database, lease_seconds=600)
        self.store.publish(publication(self.store, "base"))
        registered_dataset(self.store, "d")
        self.jobs.enqueue(JobSpec("flowers", VersionName("base", 1), "d", {}, 0, None))
        claim = self.jobs.claim("runner")
        assert claim is not None
        self.claim = claim
        self.jobs.advance(claim, JobState.RUNNING)
        self.collector = Collector(database, blobs, grace_seconds=60)

    def writers(self) -> dict[str, Callable[[], Any]]:
        """Return what names blobs, each given what it stored a moment ago."""
        given = publication(self.store, "birds", seeds=(7, 8))
        rows, state = self.blobs.put([b"rows"]), self.blobs.put([b"state"])
        dataset = Dataset("birds", rows.digest, (), 1, 4, {}, datetime.now(UTC))
        checkpoint = JobCheckpoint(1, state.digest, state.size_bytes)
        return {
            "publish": lambda: self.store.publish(replace(given, request_id="again")),
            "register": lambda: DatasetStore(self.database, self.blobs).register(dataset),
            "add_checkpoint": lambda: self.jobs.add_checkpoint(self.claim, checkpoint, self.blobs),
        }

    def removers(self) -> dict[str, Callable[[], Any]]:
        """Return what removes blobs: an orphan, and one that is corrupt."""
        self.blobs.put([b"orphan"])
        age(self.blobs)
        corrupt = self.blobs.path(self.store.get_version(VersionName("base", 1)).stages[0].digest)
        corrupt.chmod(0o644)
        corrupt.write_bytes(b"damaged")
        report = Checker(self.database, self.blobs).check(deep=True)
        return {"collect": self.collector.collect, "repair": lambda: Repairer(self.database, self.blobs).repair(report)}

    def is_whole(self) -> bool:
        """Say whether every row's blobs are there."""
        return Checker(self.database, LocalBlobs(self.blobs._root.parent)).check().is_clean


@pytest.fixture
def setting(database: Database, tmp_path: Path) -> Setting:
    """A store on each kind of database."""
    return Setting(database, SlowBlobs(tmp_path / "blobs"))


@pytest.mark.parametrize("name", ["publish", "register", "add_checkpoint", "collect", "repair"])
def test_others_write_while_an_object_store_is_asked(setting: Setting, name: str) -> None:
    """Whoever waits for a blob holds no lock: aliases, jobs and other models go on."""
    work = (setting.writers() if name in setting.writers() else setting.removers())[name]
    asked, answered = threading.Event(), threading.Event()

    def wait(_question: str) -> None:
        asked.set()
        answered.wait(30)

    setting.blobs.before = wait
    with ThreadPoolExecutor(2) as threads:
        working = threads.submit(work)
        try:
            assert asked.wait(20)
            threads.submit(setting.store.create_model, "cats", Notes()).result(20)
            setting.jobs.heartbeat(setting.claim)
            assert not working.done()
        finally:
            answered.set()
        working.result(30)
    assert setting.is_whole() or name not in setting.writers()


@pytest.mark.parametrize("name", ["publish", "register", "add_checkpoint"])
def test_what_is_collected_after_the_look_is_not_named(setting: Setting, name: str) -> None:
    """The collector comes between the look at the blobs and the row: the writer is told, and can try again."""
    work = setting.writers()[name]
    age(setting.blobs)
    collected = threading.Event()

    def collect_behind() -> None:
        if not collected.is_set():
            collected.set()
            assert setting.collector.collect().num_blobs

    setting.blobs.after_sizes = collect_behind
    with pytest.raises(Conflict, match="try again"):
        work()
    assert collected.is_set()
    assert setting.is_whole()
    setting.writers()[name]()
    assert setting.is_whole()


@pytest.mark.parametrize("name", ["publish", "register", "add_checkpoint"])
def test_what_is_being_collected_is_not_named(setting: Setting, name: str) -> None:
    """A blob that is there, but on a collector's list, is refused until the collector is through with it."""
    work = setting.writers()[name]
    age(setting.blobs)
    refused: list[StoreError] = []

    def write_before(question: str) -> None:
        if question == "delete" and not refused:
            setting.blobs.before = lambda _: None
            with pytest.raises(Conflict, match="try again") as caught:
                work()
            refused.append(caught.value)

    setting.blobs.before = write_before
    setting.collector.collect()
    assert refused
    setting.writers()[name]()
    assert setting.is_whole()


def test_what_a_dead_collector_meant_to_remove_can_be_named_after_a_while(setting: Setting) -> None:
    """Nobody knows what an object store still does for it, for as long as a request may take."""
    work = setting.writers()["register"]
    age(setting.blobs)

    def die(question: str) -> None:
        if question == "delete":
            raise KeyboardInterrupt

    setting.blobs.before = die
    with pytest.raises(KeyboardInterrupt):
        setting.collector.collect()
    setting.blobs.before = lambda _: None
    with pytest.raises(Conflict, match="try again"):
        work()
    with setting.database.write() as session:
        session.execute(update(TombstoneRow).values(buried_at=datetime.now(UTC) - timedelta(minutes=16)))
    work()
    assert setting.is_whole()


def test_tombstones_are_not_kept_for_long(setting: Setting) -> None:
    """A collector removes those that nobody can need any more."""
    for _ in range(2):
        setting.blobs.put([b"orphan"])
        age(setting.blobs)
        setting.collector.collect()
        with setting.database.write() as session:
            num = session.query(TombstoneRow).count()
            session.execute(update(TombstoneRow).values(buried_at=datetime.now(UTC) - timedelta(minutes=16)))
    assert num == 1
