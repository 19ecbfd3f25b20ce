"""Whoever watches is told all, in order; the database is read once for all of them, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager

import pytest

from model_store.database.engine import Database
from model_store.errors import JobNotFound, Unavailable
from model_store.names import VersionName
from model_store.records.changes import Change
from model_store.records.job_lifecycle import DesiredAction
from model_store.records.jobs import JobEvent, JobSpec, TrainingJob
from model_store.records.resources import Notes
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed
from tests.model_store.making import publication, registered_dataset
from training_service.api.change_notifier import ChangeNotifier
from training_service.api.job_watch import JobWatch
from training_service.threads import Threads

NUM_WATCHERS = 100
MAX_KEPT = 10
POLL_SECONDS = 0.02
SPEC = JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, None)


class CountedJobs(JobStore):
    """A queue that counts how often events were read."""

    num_reads = 0

    def events_after(self, job_id: str, sequence: int, limit: int = 1000) -> tuple[JobEvent, ...]:
        """Count, and read."""
        self.num_reads += 1
        return super().events_after(job_id, sequence, limit)


class EndingJobs(CountedJobs):
    """A queue in which a job is cancelled between the read of its state and that of its events."""

    is_armed = False

    def get(self, job_id: str) -> TrainingJob:
        """Read, and let the job end then."""
        job = super().get(job_id)
        if self.is_armed:
            self.is_armed = False
            self.request_action(job_id, DesiredAction.CANCEL)
        return job


class LostJobs(CountedJobs):
    """A queue whose database does not answer at first."""

    num_lost = 3

    def newest_events(self, job_ids: Collection[str]) -> Mapping[str, int]:
        """Fail, then read."""
        if self.num_lost:
            self.num_lost -= 1
            raise Unavailable("the database does not answer")
        return super().newest_events(job_ids)


@pytest.fixture
def jobs(database: Database, store: ModelStore) -> CountedJobs:
    """A queue with the dataset and the base that its jobs need."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    return CountedJobs(database)


@asynccontextmanager
async def job_watch(jobs: JobStore) -> AsyncIterator[tuple[JobWatch, asyncio.Event]]:
    """Run a watch of jobs, and give what stops it."""
    stopping = asyncio.Event()
    with Threads("read", 4, max_waiting=1000) as threads:
        watch = JobWatch(jobs, threads, stopping, poll_seconds=POLL_SECONDS, max_kept=MAX_KEPT)
        running = asyncio.create_task(watch.run())
        try:
            yield watch, stopping
        finally:
            stopping.set()
            await running


async def told(watch: JobWatch, job_id: str, sequence: int = 0) -> list[int]:
    """Return the numbers of the events that a watcher is told of, to the job's end."""
    async with aclosing(watch.follow(job_id, sequence)) as events:
        return [event.sequence async for _, event in events]


def test_an_event_is_read_once_for_all_who_watch_its_job(jobs: CountedJobs) -> None:
    """Who comes later is told the same, and so is who comes when all is over."""
    job = jobs.enqueue(SPEC)

    async def run() -> None:
        async with job_watch(jobs) as (watch, _):
            tasks = [asyncio.create_task(told(watch, job.id, job.last_sequence)) for _ in range(NUM_WATCHERS)]
            await _until_followed(watch, job.id, NUM_WATCHERS)
            await asyncio.to_thread(jobs.request_action, job.id, DesiredAction.PAUSE)
            late = asyncio.create_task(told(watch, job.id))
            await asyncio.to_thread(jobs.request_action, job.id, DesiredAction.CANCEL)
            assert await asyncio.gather(*tasks) == [[2, 3]] * NUM_WATCHERS
            assert await late == [1, 2, 3]
            assert jobs.num_reads <= 4  # two for all, as the job changed twice, and those of who came later
            assert await told(watch, job.id, 1) == [2, 3]

    asyncio.run(run())


def test_a_job_that_ends_while_it_is_read_ends_its_watches(jobs: CountedJobs, database: Database) -> None:
    """Its last event belongs to a state that is read with the next look."""
    job, ending = jobs.enqueue(SPEC), EndingJobs(database)

    async def run() -> None:
        async with job_watch(ending) as (watch, _):
            watching = asyncio.create_task(told(watch, job.id, job.last_sequence))
            await _until_followed(watch, job.id, 1)
            ending.is_armed = True
            await asyncio.to_thread(jobs.request_action, job.id, DesiredAction.PAUSE)
            assert await asyncio.wait_for(watching, 30) == [2, 3]

    asyncio.run(run())


def test_more_events_than_are_kept_are_told_all(jobs: CountedJobs) -> None:
    """A watcher that fell behind reads what it missed."""
    job = jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None

    async def run() -> None:
        async with job_watch(jobs) as (watch, _):
            slow = watch.follow(job.id, 0)
            assert (await anext(slow))[1].sequence == 1
            quick = asyncio.create_task(told(watch, job.id))
            for number in range(40):
                await asyncio.to_thread(jobs.append, claim, "progress", {"number": number})
            await asyncio.to_thread(jobs.request_action, job.id, DesiredAction.CANCEL)
            await asyncio.to_thread(jobs.hand_back, claim)
            numbers = [*range(1, 45)]
            assert await quick == numbers
            assert [event.sequence async for _, event in slow] == numbers[1:]

    asyncio.run(run())


def test_a_watch_outlives_a_database_that_does_not_answer(jobs: CountedJobs, database: Database) -> None:
    """And ends with the service, so that this can end; a job that is not there is refused."""
    job = jobs.enqueue(SPEC)

    async def run() -> None:
        async with job_watch(LostJobs(database)) as (watch, stopping):
            with pytest.raises(JobNotFound):
                await told(watch, "0" * 32)
            events = watch.follow(job.id, job.last_sequence)
            first = asyncio.create_task(anext(events))
            await _until_followed(watch, job.id, 1)
            await asyncio.to_thread(jobs.request_action, job.id, DesiredAction.PAUSE)
            assert (await first)[1].payload == {"state": "paused"}
            last = asyncio.create_task(anext(events))
            stopping.set()
            with pytest.raises(Unavailable, match="is stopping"):
                await last

    asyncio.run(run())


class CountedFeed(ChangeFeed):
    """A feed that counts how often it was read."""

    num_reads = 0

    def after(self, sequence: int, limit: int = 1000) -> tuple[Change, ...]:
        """Count what finds something, and read."""
        found = super().after(sequence, limit)
        self.num_reads += bool(found)
        return found


def test_a_change_is_read_once_for_all_who_watch_the_feed(database: Database, store: ModelStore) -> None:
    """What came before the service did is no longer kept: a watcher reads that itself."""
    store.create_model("before", Notes())
    feed = CountedFeed(database)
    newest = feed.newest()

    async def run() -> None:
        notifier = ChangeNotifier(feed, poll_seconds=POLL_SECONDS)
        running = asyncio.create_task(notifier.run())

        async def watch() -> list[str]:
            while (changes := await notifier.after(newest)) is None:  # the notifier has begun to follow just then
                pass
            return [change.resource for change in changes]

        watchers = [asyncio.create_task(watch()) for _ in range(NUM_WATCHERS)]
        await asyncio.sleep(0)
        await asyncio.to_thread(store.create_model, "flowers", Notes())
        assert await asyncio.gather(*watchers) == [["models/flowers"]] * NUM_WATCHERS
        assert feed.num_reads == 1
        assert await notifier.after(newest - 1) is None
        waiting = asyncio.create_task(notifier.after(newest + 1))
        await asyncio.sleep(0)
        notifier.stop()
        with pytest.raises(Unavailable):
            await waiting
        await running

    asyncio.run(run())


async def _until_followed(watch: JobWatch, job_id: str, num_watchers: int) -> None:
    """Wait until a job has so many watchers."""
    while watch.num_watchers(job_id) < num_watchers:  # noqa: ASYNC110  nobody announces it
        await asyncio.sleep(0)
