"""Wishes, runners, workers that die and leases that run out, interleaved by seeds: every job has one end.

The workers' and runners' own code decides what becomes of an attempt; only the training itself is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import update

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.errors import IllegalState, LeaseLost
from model_store.names import VersionName
from model_store.records.job_lifecycle import ACTIVE, ENDED, STOPPING, DesiredAction, JobState, may_move
from model_store.records.jobs import JobCheckpoint, JobSpec, TrainingJob
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.models import ModelStore
from model_store.tables import JobRow
from model_store.transactions.listings import ListRequest
from tests.model_store.making import publication, registered_dataset
from tests.postgres_server import new_database
from tests.training_service.interleaving import Interleaver, run_interleaved, switched
from training_service.jobs.runner import Runner
from training_service.jobs.work_order import WorkOrder
from training_service.jobs.worker import Worker
from training_service.settings import TrainingSettings
from training_service.threads import Threads

NUM_JOBS = 2
NUM_RUNNERS = 2
NUM_SEEDS = 500
NUM_QUICK_SEEDS = 8
KILLED = -9
STATEMENT_TIMEOUT = "10s"
REFUSED = "this data cannot be learned from"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainingSettings:
    """The settings of a store with a base and a dataset; on PostgreSQL no statement may take long."""
    home = tmp_path_factory.mktemp("home")
    if request.param == "sqlite":
        database = Database(sqlite_url(home / "store.db"))
        database.open_schema()
    else:
        database = new_database(request.getfixturevalue("postgres"))
    with closing(database):
        store = ModelStore(database, LocalBlobs(home / "blobs"))
        store.publish(publication(store, "base"))
        registered_dataset(store, "d")
        url = database.url
    if request.param == "postgres":
        options = f"{url.query['options']} -cstatement_timeout={STATEMENT_TIMEOUT}"
        url = url.update_query_dict({"options": options})
    return TrainingSettings(home=home, database_url=url.render_as_string(hide_password=False), device="cpu")


class Died(BaseException):
    """The worker's process ends in the middle of its work."""


class QuickWorker(Worker):
    """A worker that trains nothing: it writes what a worker writes, and ends as the seed says."""

    fate: str = "publishes"
    step_of_fate: int = 0

    def _run(self, job: TrainingJob) -> None:
        self._jobs.advance(self._claim, JobState.RUNNING)
        for step in range(1, 4):
            if self.fate == "dies" and step == self.step_of_fate:
                raise Died
            if self.fate == "is refused" and step == self.step_of_fate:
                raise IllegalState(REFUSED)
            self._check_going_on()
            self._tell(f"step {step}")
            blob = self._store.blobs.put([f"{job.id} {step}".encode()])
            checkpoint = JobCheckpoint(step, blob.digest, blob.size_bytes)
            self._jobs.add_checkpoint(self._claim, checkpoint, self._store.blobs)
        self._check_going_on()
        self._store.publish(publication(self._store, job.spec.model_id, claim=self._claim, alias=job.spec.alias))


class Play:
    """The actors of one seed, all on one database."""

    def __init__(self, seed: int, settings: TrainingSettings, database: Database) -> None:
        self._random = random.Random(seed)
        self._settings = settings
        self._database = database
        self.jobs = JobStore(database)
        self.store = ModelStore(database, settings.open_blobs())
        spec = JobSpec(f"model{seed}", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, "production")
        self.ids = [self.jobs.enqueue(spec).id for _ in range(NUM_JOBS)]
        self._dead: set[str] = set()
        self._attempts: dict[int, tuple[Claim, threading.Event]] = {}

    def actors(self) -> dict[str, Callable[[], None]]:
        """Return what is to happen at once, each with random numbers of its own."""
        actors: dict[str, Callable[[], None]] = {}
        for number in range(NUM_RUNNERS):
            actors[f"runner{number}"] = self._runner(number, self._own_random())
            actors[f"heart{number}"] = self._heart(number)
        actors["person"] = self._person(self._own_random())
        actors["time"] = self._time(self._own_random())
        return actors

    def finish(self) -> None:
        """Let everything that is still to be done run to its end, undisturbed."""
        while unfinished := [job for job in map(self.jobs.get, self.ids) if job.state not in ENDED]:
            for job in unfinished:
                if job.state is JobState.PAUSED:
                    self.jobs.request_action(job.id, DesiredAction.RESUME)
            self._pass_time()
            if (claim := self.jobs.claim("last")) is not None:
                self._attempt(claim, threading.Event(), "publishes", 0)

    def _own_random(self) -> random.Random:
        return random.Random(self._random.random())

    def _runner(self, number: int, chance: random.Random) -> Callable[[], None]:
        def run() -> None:
            for attempt in range(4):
                owner = f"{number}-{attempt}"
                if (claim := self.jobs.claim(owner)) is None:
                    continue
                stopping = threading.Event()
                self._attempts[number] = claim, stopping
                fate = chance.choice(["publishes", "publishes", "dies", "dies with its runner", "is refused"])
                self._attempt(claim, stopping, fate, chance.randint(1, 3))
                del self._attempts[number]

        return run

    def _attempt(self, claim: Claim, stopping: threading.Event, fate: str, step: int) -> None:
        """Run an attempt as runner and worker do."""
        worker = QuickWorker(WorkOrder(claim, self._settings), self._database, stopping)
        worker.fate, worker.step_of_fate = fate.removesuffix(" with its runner"), step
        try:
            code = worker.run()
        except Died:
            code = KILLED
            if fate == "dies with its runner":
                self._dead.add(claim.owner)
                return
        with _runner_of(self.jobs, self._settings) as runner:
            runner._settle(claim, code)

    def _heart(self, number: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(8):
                if number not in self._attempts:
                    self.jobs.get(self.ids[0])  # a turn passes
                    continue
                claim, stopping = self._attempts[number]
                goes_on = False
                with contextlib.suppress(LeaseLost):
                    goes_on = self.jobs.heartbeat(claim) in ACTIVE - STOPPING
                if not goes_on:
                    stopping.set()

        return run

    def _person(self, chance: random.Random) -> Callable[[], None]:
        def run() -> None:
            for _ in range(8):
                action, job_id = chance.choice([*DesiredAction]), chance.choice(self.ids)
                with contextlib.suppress(IllegalState):
                    self.jobs.request_action(job_id, action)

        return run

    def _time(self, chance: random.Random) -> Callable[[], None]:
        def run() -> None:
            for _ in range(5):
                if chance.random() < 0.5:
                    self.jobs.release_gone(lambda owner: owner in self._dead)
                else:
                    self._pass_time()

        return run

    def _pass_time(self) -> None:
        """Let every lease run out, and every job be due."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        for job_id in self.ids:
            with self._database.write() as session:
                held = update(JobRow).where(JobRow.id == job_id, JobRow.lease_expires_at.is_not(None))
                session.execute(held.values(lease_expires_at=past))
            with self._database.write() as session:
                session.execute(update(JobRow).where(JobRow.id == job_id).values(next_attempt_at=None))


@contextmanager
def _runner_of(jobs: JobStore, settings: TrainingSettings) -> Iterator[Runner]:
    with Threads("lease", 1, max_waiting=0) as threads:
        yield Runner(jobs, settings, asyncio.Event(), threads)


@pytest.mark.parametrize("seed", range(NUM_SEEDS, NUM_SEEDS + NUM_QUICK_SEEDS))
def test_every_job_has_one_end(settings: TrainingSettings, seed: int) -> None:
    """Whatever comes between two statements: a legal state, one version at most, and nobody waits for ever."""
    play_out(settings, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_every_job_has_one_end_in_many_interleavings(settings: TrainingSettings, seed: int) -> None:
    """The same for many more seeds."""
    play_out(settings, seed)


def play_out(settings: TrainingSettings, seed: int) -> None:
    """Interleave the actors of a seed, then look at every job, and once more when all has run to its end."""
    with closing(settings.connect()) as database:
        play = Play(seed, settings, database)
        actors = play.actors()
        interleaver = Interleaver(seed, len(actors))
        with switched(database, interleaver) as raised:
            run_interleaved(interleaver, actors)
        assert raised == []
        check(play)
        play.finish()
        check(play)
        assert all(play.jobs.get(job_id).state in ENDED for job_id in play.ids)


def check(play: Play) -> None:
    """Hold every job to its promises."""
    numbers = []
    for job_id in play.ids:
        job, events = play.jobs.get(job_id), play.jobs.events_after(job_id, 0)
        assert [event.sequence for event in events] == [*range(1, len(events) + 1)]
        states = [JobState(event.payload["state"]) for event in events if event.kind == "state"]
        assert states[0] is JobState.QUEUED
        assert all(may_move(before, after) for before, after in pairwise(states)), states
        assert states[-1] is job.state
        assert states.count(JobState.SUCCEEDED) == (job.version is not None)
        text = job.error.message if job.error is not None else ""
        assert job.state is not JobState.FAILED or text == REFUSED or text.startswith("gave up after")
        numbers += [job.version.number] if job.version is not None else []
    listed = play.store.list_versions(job.spec.model_id, ListRequest()).items if numbers else ()
    assert sorted(version.name.number for version in listed) == sorted(numbers)
