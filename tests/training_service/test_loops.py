"""What nobody expected, in one promotion, one job or one look at the feed: it is logged, and the rest goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from grpc_runtime.server import GrpcServer
from model_store.database.engine import Database
from model_store.names import VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobSpec, JobUrgency, TrainingJob
from model_store.records.promotion import PromotionSpec, PromotionState, Verdict
from model_store.records.resources import Notes
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed
from model_store.transactions.promotions import Gated, PromotionStore
from tests.model_store.making import publication, registered_dataset
from tests.training_service.running import TIMEOUT, settings_of, until
from training_service.api.change_notifier import ChangeNotifier
from training_service.jobs.runner import Runner
from training_service.promotion.promoter import Promoter
from training_service.server import TrainingServer
from training_service.threads import Threads

SPEC = JobSpec("flowers", VersionName("base", 1), "d", {}, 0, None)
PASSED = Verdict(True, "good", 0.9)


class Unexpected(Exception):
    """What no code here knows."""


@pytest.fixture
def jobs(database: Database, store: ModelStore) -> JobStore:
    """A queue, with a base and a dataset."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    return JobStore(database)


def promoted(jobs: JobStore, store: ModelStore, alias: str, number: int) -> str:
    """Publish a job's version that passed the gate and waits to be served; return the job's id."""
    spec = PromotionSpec(alias)
    jobs.enqueue(replace(SPEC, promote=spec, urgency=JobUrgency(priority=number)))
    claim = jobs.claim("runner")
    assert claim is not None
    jobs.advance(claim, JobState.RUNNING)
    store.publish(publication(store, seeds=(1, 10 + number), claim=claim, gated=Gated(spec, PASSED, 60)))
    return claim.job_id


def run_until(condition: Callable[[], bool], *loops: Callable[[asyncio.Event], Any]) -> Sequence[Any]:
    """Run loops until a condition holds, then stop them; return what was logged."""

    async def run() -> None:
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as parts:
            for loop in loops:
                parts.create_task(loop(stopping))
            try:
                await asyncio.to_thread(until, condition)
            finally:
                stopping.set()

    with capture_logs() as logged:
        asyncio.run(run())
    return logged


def promoter_of(promotions: PromotionStore, stopping: asyncio.Event, threads: Threads) -> Promoter:
    """Return a promoter that asks no service, and tries again at once."""
    seconds = {"poll_seconds": 0.01, "patience_seconds": 60.0, "retry_seconds": 0.05}
    return Promoter(promotions, (), stopping, threads, **seconds)


def test_one_promotion_that_fails_does_not_hold_up_another(
    database: Database, jobs: JobStore, store: ModelStore
) -> None:
    """It is tried again, and goes on once whatever was wrong is not."""
    bad, good = promoted(jobs, store, "one", 1), promoted(jobs, store, "two", 2)
    tries: list[str] = []

    class Promotions(PromotionStore):
        """Real promotions, of which one fails twice."""

        def end_loading(self, job_id: str, state: PromotionState, reason: str) -> None:
            tries.append(job_id)
            if job_id == bad and tries.count(bad) <= 2:
                raise Unexpected
            super().end_loading(job_id, state, reason)

    def is_settled(job_id: str) -> bool:
        return jobs.get(job_id).is_settled

    with Threads("promoter", 1, max_waiting=100) as threads:
        logged = run_until(
            lambda: is_settled(bad) and is_settled(good),
            lambda stopping: promoter_of(Promotions(database), stopping, threads).run(),
        )
    assert tries.count(bad) == 3
    assert [each["event"] for each in logged].count("promotion_failed") == 2


def test_promotions_that_cannot_be_read_do_not_end_the_promoter(
    database: Database, jobs: JobStore, store: ModelStore
) -> None:
    """A row that this code does not understand, say: once it is gone, the rest goes on."""
    job_id = promoted(jobs, store, "one", 1)
    failures = [Unexpected(), Unexpected()]

    class Promotions(PromotionStore):
        """Real promotions that cannot be read at first."""

        def under_way(self) -> tuple[TrainingJob, ...]:
            if failures:
                raise failures.pop()
            return super().under_way()

    with Threads("promoter", 1, max_waiting=100) as threads:
        run_until(
            lambda: jobs.get(job_id).is_settled,
            lambda stopping: promoter_of(Promotions(database), stopping, threads).run(),
        )
    assert failures == []


def test_a_slot_outlives_what_goes_wrong_with_a_job(database: Database, jobs: JobStore, tmp_path: Path) -> None:
    """Be it when lost jobs are looked for, or when the next one is claimed."""
    claims: list[Claim | None] = []

    class Jobs(JobStore):
        """A real queue that fails twice."""

        def release_gone(self, _is_gone: Callable[[str], bool]) -> None:
            raise Unexpected

        def claim(self, owner: str, *, searches: bool = False) -> Claim | None:
            claims.append(None)
            if len(claims) == 1:
                raise Unexpected
            return super().claim(owner, searches=searches)

    assert jobs
    with Threads("lease", 2, max_waiting=0) as threads:
        settings = settings_of(tmp_path)
        logged = run_until(
            lambda: len(claims) > 2, lambda stopping: Runner(Jobs(database), settings, stopping, threads).run()
        )
    assert [each["event"] for each in logged] == ["lost_jobs_not_released", "job_not_started"]


def test_the_change_bell_rings_again_after_what_nobody_expected(
    database: Database, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who wait for changes hear of the next one."""
    monkeypatch.setattr("training_service.api.change_notifier._RETRY_SECONDS", 0.01)
    failures = [Unexpected()]

    class Feed(ChangeFeed):
        """A real feed that fails once."""

        def newest(self) -> int:
            if failures:
                raise failures.pop()
            return super().newest()

    async def follow() -> None:
        notifier = ChangeNotifier(Feed(database), poll_seconds=0.01)
        async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as parts:
            parts.create_task(notifier.run())
            await asyncio.to_thread(store.create_model, "cats", Notes())
            await notifier.after(0)
            notifier.stop()

    asyncio.run(follow())
    assert failures == []


def test_a_part_that_dies_ends_the_service(database: Database, store: ModelStore, tmp_path: Path) -> None:
    """The thread that follows the feed holds up nothing: it is told to stop before it is waited for."""
    notifier = ChangeNotifier(ChangeFeed(database), poll_seconds=0.01)
    store.create_model("cats", Notes())

    class Dying:
        """A part that ends with an error once the feed is followed."""

        async def run(self) -> None:
            await notifier.after(0)
            raise Unexpected

    async def serve() -> None:
        server = GrpcServer(settings_of(tmp_path), {})
        await TrainingServer(server, [Dying(), notifier], notifier, asyncio.Event()).run()

    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(lambda: asyncio.run(serve()))
        try:
            error = served.exception(TIMEOUT)
        finally:
            notifier.stop()
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error.exceptions[0], Unexpected)
