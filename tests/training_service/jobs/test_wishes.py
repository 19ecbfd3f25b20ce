"""A job that is paused, cancelled, lost or killed before any write of its worker: it ends where the table says."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import torch
from sqlalchemy import update
from sqlalchemy.orm import Session

from model_store.database.engine import Database
from model_store.errors import IllegalState
from model_store.names import VersionName
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import JobSpec, TrainingJob
from model_store.registry.jobs import Claim, JobStore
from model_store.tables import JobRow
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import running_service, settings_of
from training_service.jobs.runner import Runner
from training_service.jobs.work_order import WorkOrder
from training_service.jobs.worker import Worker
from training_service.jobs.worker_process import ForkServer
from training_service.recipes.recipe import DEFAULTS, RecipeName
from training_service.settings import TrainingSettings
from training_service.threads import Threads

RECIPE = replace(DEFAULTS[RecipeName.CLASSIC], epoch_count=1).to_json()
SPEC = JobSpec("flowers", VersionName("base", 1), "photos", RECIPE, 0, None)
KILLED = -signal.SIGKILL


class Killed(BaseException):
    """The worker ends here, whatever it does."""


class Interrupted(Database):
    """A database that calls a function before each write."""

    def __init__(self, url: str, before_write: Callable[[], None]) -> None:
        super().__init__(url)
        self._before_write = before_write

    @contextmanager
    def write(self, principal: str = "") -> Iterator[Session]:
        """Run the function, then the block."""
        self._before_write()
        with super().write(principal) as session:
            yield session


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Train with one thread, as the workers of tests do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainingSettings:
    """The settings of a store with `base` and `photos`, whose service is gone."""
    home = tmp_path_factory.mktemp("home")
    with running_service(home, num_concurrent_jobs=0) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(4)))
    return settings_of(home)


@pytest.fixture
def database(settings: TrainingSettings) -> Iterator[Database]:
    """That store's database."""
    with closing(settings.open_database()) as database:
        yield database


@pytest.fixture
def jobs(database: Database) -> JobStore:
    """That store's queue."""
    return JobStore(database)


def pause(jobs: JobStore, job_id: str) -> None:
    """Pause the job."""
    jobs.request_action(job_id, DesiredAction.PAUSE)


def cancel(jobs: JobStore, job_id: str) -> None:
    """Cancel the job."""
    jobs.request_action(job_id, DesiredAction.CANCEL)


def pause_and_cancel(jobs: JobStore, job_id: str) -> None:
    """Pause the job, ask for what it cannot do while it is pausing, then cancel it."""
    jobs.request_action(job_id, DesiredAction.PAUSE)
    for action in (DesiredAction.RESUME, DesiredAction.RETRY):
        with pytest.raises(IllegalState):
            jobs.request_action(job_id, action)
    jobs.request_action(job_id, DesiredAction.CANCEL)
    with pytest.raises(IllegalState, match="retry it once it is cancelled"):
        jobs.request_action(job_id, DesiredAction.RETRY)


def lose(jobs: JobStore, _: str) -> None:
    """Take the job from its runner."""
    jobs.release_gone(lambda _: True)


def kill(_: JobStore, __: str) -> None:
    """End the worker."""
    raise Killed


ENDS: Mapping[Callable[[JobStore, str], None], JobState] = {
    pause: JobState.PAUSED,
    cancel: JobState.CANCELLED,
    pause_and_cancel: JobState.CANCELLED,
    lose: JobState.QUEUED,
    kill: JobState.QUEUED,
}
"""Where each leads a job whose version is not published yet."""


@pytest.mark.parametrize("interrupt", ENDS)
def test_an_interrupted_job_goes_where_it_was_sent(
    database: Database, settings: TrainingSettings, jobs: JobStore, interrupt: Callable[[JobStore, str], None]
) -> None:
    """Before every single write of its worker; then it goes on, and publishes one version."""
    ends, place = [], 0
    while attempt(settings, jobs, claim := claimed(jobs), place, interrupt):
        job = jobs.get(claim.job_id)
        assert (job.error, job.version is not None) == (None, job.state is JobState.SUCCEEDED)
        ends.append(job.state)
        if job.state is not JobState.SUCCEEDED:
            assert finished(database, settings, jobs, job).version is not None
        place += 1
    assert place > 3  # it runs, tells its plan, says how far it is, and publishes
    # The last write publishes. Who is told to stop only then has finished, and a finished version is kept.
    last = ENDS[interrupt] if interrupt in {lose, kill} else JobState.SUCCEEDED
    assert ends == [ENDS[interrupt]] * (place - 1) + [last]


def test_a_job_whose_deadline_passes_between_two_writes_fails_by_its_deadline(
    database: Database, settings: TrainingSettings, jobs: JobStore
) -> None:
    """Its worker then changes nothing any more."""

    def overdue(jobs: JobStore, job_id: str) -> None:
        with database.write() as session:
            past = datetime.now(UTC) - timedelta(seconds=1)
            session.execute(update(JobRow).where(JobRow.id == job_id).values(deadline=past))
        assert jobs.heartbeat(claim) is JobState.FAILED

    for place in range(4):
        claim = claimed(jobs)
        assert attempt(settings, jobs, claim, place, overdue)
        job = jobs.get(claim.job_id)
        assert (job.state, job.version) == (JobState.FAILED, None)
        assert job.error is not None
        assert "deadline" in job.error.message


def test_a_job_without_a_process_goes_back_to_the_queue_at_once(
    database: Database, settings: TrainingSettings, jobs: JobStore
) -> None:
    """It waits as after a worker that died, not until the lease has run out."""
    broken = ForkServer(("no_such_module",))

    async def run() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        class StoppingAtRelease(JobStore):
            def release(self, claim: Claim, reason: str) -> TrainingJob:
                loop.call_soon_threadsafe(stopping.set)
                return super().release(claim, reason)

        with Threads("lease", 1, max_waiting=0) as threads:
            await Runner(StoppingAtRelease(database), settings, stopping, threads, fork_server=broken).run()

    job = jobs.enqueue(SPEC)
    asyncio.run(run())
    found = jobs.get(job.id)
    assert (found.state, found.num_attempts) == (JobState.QUEUED, 1)
    assert "no worker process could be started" in jobs.events_after(job.id, 0)[-2].payload["text"]
    jobs.request_action(job.id, DesiredAction.CANCEL)


def claimed(jobs: JobStore) -> Claim:
    """Queue a job and claim it."""
    jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    return claim


def attempt(
    settings: TrainingSettings,
    jobs: JobStore,
    claim: Claim,
    place: int = -1,
    interrupt: Callable[[JobStore, str], None] = kill,
) -> bool:
    """Run an attempt as a runner does, interrupted before its worker's write of this place; say whether there is one.

    The worker is told to stop at once, as by a heartbeat that comes just then.
    """
    places, stopping = iter(range(1000)), threading.Event()
    reached: list[int] = []

    def before_write() -> None:
        if next(places) == place:
            reached.append(place)
            stopping.set()
            interrupt(jobs, claim.job_id)

    with closing(Interrupted(database_url(settings), before_write)) as database:
        try:
            code = Worker(WorkOrder(claim, settings), database, stopping).run()
        except Killed:
            code = KILLED
    with Threads("lease", 1, max_waiting=0) as threads:
        Runner(jobs, settings, asyncio.Event(), threads)._settle(claim, code)
    return bool(reached)


def finished(database: Database, settings: TrainingSettings, jobs: JobStore, job: TrainingJob) -> TrainingJob:
    """Let a job go on and run to its end."""
    if job.state is not JobState.QUEUED:
        jobs.request_action(job.id, DesiredAction.RESUME if job.state is JobState.PAUSED else DesiredAction.RETRY)
    with database.write() as session:
        session.execute(update(JobRow).values(next_attempt_at=None))
    claim = jobs.claim("another runner")
    assert claim is not None
    assert claim.job_id == job.id
    attempt(settings, jobs, claim)
    ended = jobs.get(job.id)
    assert ended.state is JobState.SUCCEEDED
    return ended


def database_url(settings: TrainingSettings) -> str:
    """Return the URL of the store's database."""
    with closing(settings.connect()) as database:
        return database.url.render_as_string(hide_password=False)
