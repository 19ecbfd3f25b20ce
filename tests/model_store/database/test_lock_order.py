"""One order of locks in every transaction: a job's row, a model's row, the writer lock. So none waits in a circle."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, event

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.database.paging import PageRequest
from model_store.errors import StoreError
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import JobCheckpoint, JobSpec, JobUrgency
from model_store.records.promotion import PromotionSpec, PromotionState, Verdict
from model_store.records.resources import Notes
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from model_store.transactions.promotions import Gated, PromotionStore
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from model_store.upkeep.history import HistoryPruner
from model_store.upkeep.paced_writes import PacedWrites
from model_store.upkeep.repair import Repairer
from model_store.upkeep.retention import Pruner, Rule
from tests.model_store.making import age, publication, registered_dataset

JOB, MODEL, WRITER = "1 job", "2 model", "3 writer lock"
ONE, TWO = VersionName("flowers", 1), VersionName("flowers", 2)
PRODUCTION = AliasName("flowers", "production")
PASSED = Verdict(True, "good", 0.9, 2, 0.8)
_TABLES = {"training_jobs": JOB, "models": MODEL}
_LOCKING_READ = re.compile(r"FROM (\w+).*FOR UPDATE( SKIP LOCKED)?$", re.DOTALL)
_WRITE = re.compile(r"^(UPDATE|DELETE FROM|INSERT INTO) (\w+)\b")
_numbers = count()

pytestmark = pytest.mark.parametrize("database", ["postgres"], indirect=True)


@dataclass
class Transaction:
    """The locks that one transaction has, and those that it waited for out of order."""

    held: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, lock: str, *, waits: bool) -> None:
        """Note that a lock is asked for; one of a kind that is held already may be the same."""
        if lock in self.held:
            return
        if waits and [each for each in self.held if each > lock]:
            self.wrong.append(f"{lock} while {self.held} were held")
        self.held.append(lock)


class Recorder:
    """Every transaction of a database with the locks that its statements take, in their order."""

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.before: Callable[[str], None] = lambda _: None

    def begun(self, connection: Connection) -> None:
        """Begin a transaction."""
        connection.info["locks"] = Transaction()
        self.transactions.append(connection.info["locks"])

    def executed(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        """Note what a statement locks, before it does."""
        lock, waits = _lock_of(statement)
        if lock is not None:
            self.before(lock)
            connection.info["locks"].note(lock, waits=waits)

    @property
    def wrong(self) -> list[str]:
        """What was locked out of order."""
        return [each for transaction in self.transactions for each in transaction.wrong]


def _lock_of(statement: str) -> tuple[str | None, bool]:
    """Return which lock a statement takes, and whether it waits for others that have it."""
    if "pg_advisory_xact_lock" in statement:
        return WRITER, True
    if found := _LOCKING_READ.search(statement.strip()):
        return _TABLES.get(found[1]), found[2] is None
    if found := _WRITE.match(statement):
        is_new_job = found[1] == "INSERT INTO" and found[2] == "training_jobs"
        return _TABLES.get(found[2]), not is_new_job
    return None, False


@contextmanager
def recorded(database: Database) -> Iterator[Recorder]:
    """Record the locks of a database's transactions."""
    recorder = Recorder()
    events = (("begin", recorder.begun), ("before_cursor_execute", recorder.executed))
    for name, listener in events:
        event.listen(database._engine, name, listener)
    try:
        yield recorder
    finally:
        for name, listener in events:
            event.remove(database._engine, name, listener)


class Setting:
    """A store with something of everything, and a call of every public method of its facades."""

    def __init__(self, database: Database, blobs: LocalBlobs) -> None:
        self.blobs = blobs
        self.store = ModelStore(database, blobs)
        self.jobs = JobStore(database, lease_seconds=60)
        self.datasets = DatasetStore(database, blobs)
        self.promotions = PromotionStore(database)
        due = ModelStore(database, blobs, kept_for=timedelta(0))
        registered_dataset(self.store, "d")
        self.store.publish(publication(self.store, "base"))
        for _ in range(2):
            self.store.publish(publication(self.store, seeds=(1, 1000 + next(_numbers)), alias="production"))
        due.publish(publication(self.store, "old"))
        due.delete_model("old", force=True)
        self.upkeep = {
            "collect": lambda: Collector(database, blobs, grace_seconds=60).collect(),
            "find garbage": lambda: Collector(database, blobs).find(),
            "prune": lambda: Pruner(database, self.store).prune(Rule(keep_last=1)),
            "prune_jobs": lambda: HistoryPruner(database, PacedWrites(database)).prune_jobs(timedelta(0)),
            "prune_events": lambda: HistoryPruner(database, PacedWrites(database)).prune_events(timedelta(0)),
            "prune_changes": lambda: HistoryPruner(database, PacedWrites(database)).prune_changes(timedelta(0)),
            "repair": lambda: Repairer(database, blobs).repair(Checker(database, blobs).check(deep=True)),
        }

    def claim(self, promote: PromotionSpec | None = None) -> Claim:
        """Queue a job that goes before all others, and begin to run it."""
        urgency = JobUrgency(priority=next(_numbers))
        spec = JobSpec("flowers", VersionName("base", 1), "d", {}, 0, None, urgency, promote)
        self.jobs.enqueue(spec, f"request {next(_numbers)}")
        claim = self.jobs.claim("runner")
        assert claim is not None
        self.jobs.advance(claim, JobState.RUNNING)
        return claim

    def gated(self, seconds: float = 0) -> str:
        """Publish a job's version that passes the gate."""
        self.store.set_alias(PRODUCTION, TWO)
        spec = PromotionSpec("production", shadow_seconds=seconds)
        claim = self.claim(spec)
        seeds = (1, 2000 + next(_numbers))
        self.store.publish(publication(self.store, seeds=seeds, claim=claim, gated=Gated(spec, PASSED, 60)))
        return claim.job_id

    def checkpoint(self) -> None:
        """Note a checkpoint of a running job."""
        blob = self.blobs.put([b"state"])
        self.jobs.add_checkpoint(self.claim(), JobCheckpoint(1, blob.digest, blob.size_bytes), self.blobs)

    def calls(self) -> dict[tuple[type, str], Callable[[], Any]]:
        """Return a call of each public method."""
        store, jobs, datasets, promotions = self.store, self.jobs, self.datasets, self.promotions
        page = PageRequest()
        of_store: dict[str, Callable[[], Any]] = {
            "publish": self.gated,
            "create_model": lambda: store.create_model(f"model-{next(_numbers)}", Notes()),
            "get_model": lambda: store.get_model("flowers"),
            "list_models": lambda: store.list_models(ListRequest()),
            "update_model": lambda: store.update_model("flowers", lambda old: old),
            "delete_model": lambda: store.delete_model(store.create_model("gone", Notes()).id),
            "undelete_model": lambda: store.undelete_model("gone"),
            "get_version": lambda: store.get_version(ONE),
            "resolve": lambda: store.resolve(ModelName("flowers")),
            "list_versions": lambda: store.list_versions("flowers", ListRequest()),
            "update_version": lambda: store.update_version(ONE, lambda old: old),
            "delete_version": lambda: store.delete_version(ONE),
            "undelete_version": lambda: store.undelete_version(ONE),
            "get_versions": lambda: store.get_versions([ONE, TWO]),
            "manifest": lambda: store.manifest(store.get_version(ONE)),
            "compare": lambda: store.compare(ONE, TWO),
            "lineage": lambda: store.lineage(ONE),
            "get_alias": lambda: store.get_alias(PRODUCTION),
            "set_alias": lambda: store.set_alias(PRODUCTION, TWO),
            "roll_back_alias": lambda: store.roll_back_alias(PRODUCTION),
            "delete_alias": lambda: store.delete_alias(store.set_alias(AliasName("flowers", "a"), ONE).name),
            "list_alias_history": lambda: store.list_alias_history(PRODUCTION, page),
        }
        of_jobs: dict[str, Callable[[], Any]] = {
            "enqueue": self.claim,
            "claim": self.claim,
            "get": lambda: jobs.get(self.claim().job_id),
            "list": lambda: jobs.list(ListRequest(page)),
            "events_after": lambda: jobs.events_after(self.claim().job_id, 0),
            "newest_events": lambda: jobs.newest_events([self.claim().job_id]),
            "heartbeat": lambda: jobs.heartbeat(self.claim()),
            "advance": lambda: jobs.advance(self.claim(), JobState.FAILED),
            "choose_base": lambda: jobs.choose_base(self.claim(), VersionName("base", 1), {}, {}),
            "append": lambda: jobs.append(self.claim(), "message", {"text": ""}),
            "add_checkpoint": self.checkpoint,
            "checkpoints": lambda: jobs.checkpoints(self.claim().job_id),
            "release": lambda: jobs.release(self.claim(), "lost"),
            "release_gone": lambda: jobs.release_gone(lambda _: True),
            "hand_back": lambda: jobs.hand_back(self.claim()),
            "request_action": self.request_every_action,
        }
        of_datasets: dict[str, Callable[[], Any]] = {
            "register": lambda: registered_dataset(store, f"data-{next(_numbers)}"),
            "check_free": lambda: datasets.check_free("free"),
            "get": lambda: datasets.get("d"),
            "living": lambda: datasets.living("d"),
            "living_of_digest": lambda: datasets.living_of_digest("0" * 64),
            "list": lambda: datasets.list(ListRequest(page)),
            "delete": lambda: datasets.delete(registered_dataset(store, "gone").id),
            "undelete": lambda: datasets.undelete("gone"),
        }
        of_promotions: dict[str, Callable[[], Any]] = {
            "under_way": promotions.under_way,
            "end_shadowing": lambda: promotions.end_shadowing(self.gated(30), PASSED, 60),
            "end_loading": lambda: promotions.end_loading(self.gated(), PromotionState.REFUSED, "it cannot be loaded"),
        }
        kinds = {ModelStore: of_store, JobStore: of_jobs, DatasetStore: of_datasets, PromotionStore: of_promotions}
        return {(kind, name): call for kind, calls in kinds.items() for name, call in calls.items()}

    def request_every_action(self) -> None:
        """Ask everything of jobs in several states."""
        for first in DesiredAction:
            job_id = self.claim().job_id
            for action in (first, *DesiredAction):
                with suppress(StoreError):
                    self.jobs.request_action(job_id, action)


@pytest.fixture
def setting(database: Database, blobs: LocalBlobs) -> Setting:
    """A store on PostgreSQL, whose writers lock rows."""
    return Setting(database, blobs)


def test_every_method_is_called(setting: Setting) -> None:
    """A method that is added to a facade has to be added here."""
    facades = (ModelStore, JobStore, DatasetStore, PromotionStore)
    public = {
        (kind, name)
        for kind in facades
        for name in dir(kind)
        if not name.startswith("_") and callable(getattr(kind, name))
    }
    assert set(setting.calls()) == public


def test_every_method_takes_its_locks_in_one_order(setting: Setting, database: Database) -> None:
    """In no transaction is a job's row waited for while a model's is held, or any row while the writer lock is."""
    age(setting.blobs)
    with recorded(database) as recorder:
        for (kind, name), call in setting.calls().items():
            call()
            assert recorder.wrong == [], f"{kind.__name__}.{name}"
        for name, call in setting.upkeep.items():
            call()
            assert recorder.wrong == [], name
    orders = {tuple(transaction.held) for transaction in recorder.transactions}
    assert {(JOB, MODEL, WRITER), (JOB, WRITER), (MODEL, WRITER), (WRITER,)} <= orders


def test_a_checkpoint_and_an_action_do_not_wait_for_one_another(setting: Setting, database: Database) -> None:
    """Each holds its first lock before either goes on: both end."""
    claim, blob = setting.claim(), setting.blobs.put([b"state"])
    both_hold_one, seen = threading.Barrier(2), threading.local()

    def meet(_lock: str) -> None:
        seen.num = getattr(seen, "num", 0) + 1
        if seen.num == 2:
            with suppress(threading.BrokenBarrierError):  # with one order, the other one still waits for its first
                both_hold_one.wait(1)

    with recorded(database) as recorder, ThreadPoolExecutor(2) as threads:
        recorder.before = meet
        checkpoint = JobCheckpoint(1, blob.digest, blob.size_bytes)
        writers = [
            threads.submit(setting.jobs.add_checkpoint, claim, checkpoint, setting.blobs),
            threads.submit(setting.jobs.request_action, claim.job_id, DesiredAction.CANCEL),
        ]
        for writer in writers:
            writer.result(20)
    assert setting.jobs.get(claim.job_id).state is JobState.CANCELLING
    assert setting.jobs.checkpoints(claim.job_id)
