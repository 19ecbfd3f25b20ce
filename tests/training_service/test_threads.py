"""Whatever some calls wait for, others are answered: leases, reads, writes and slow work have threads of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2 as registry_pb
from maas.training.v1 import training_pb2 as pb
from sqlalchemy import select

from model_store.blobs.local import LocalBlobs
from model_store.tables import JobRow
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import TIMEOUT, RunningService, running_service, settings_of, until
from training_service.settings import TrainingSettings
from training_service.threads import Busy, Threads

LEASE_SECONDS = 1.0
NUM_CALLS = 40
SOME_DIGEST = "1" * 64

HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


class HeldBlobs(LocalBlobs):
    """A blob store that, while it is held, does not say what it lacks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Answer nobody before the block ends."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Wait, then answer."""
        self._free.wait()
        return super().missing(digests)


@contextmanager
def service_of(home: Path, blobs: HeldBlobs, **chosen: Any) -> Iterator[RunningService]:
    """Run a service on these blobs."""

    class Settings(TrainingSettings):
        def open_blobs(self) -> HeldBlobs:
            return blobs

    with running_service(home, kind=Settings, **chosen) as service:
        yield service


@contextmanager
def write_lock(home: Path) -> Iterator[None]:
    """Hold the write lock of a home's database in another process."""
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(home / "store.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            assert holder.stdin is not None
            holder.stdin.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a store with `base` and `photos`."""
    with running_service(tmp_path, num_concurrent_jobs=0) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(6)))
    return tmp_path


def test_a_running_job_keeps_its_lease_while_the_object_store_does_not_answer(home: Path) -> None:
    """More calls wait for blobs than the service has threads, for longer than a lease."""

    def lease_ends() -> datetime:
        with closing(settings_of(home).connect()) as database, database.read() as session:
            (ends,) = session.scalars(select(JobRow.lease_expires_at).where(JobRow.lease_expires_at.is_not(None)))
            assert ends is not None
            return ends

    blobs = HeldBlobs(home / "blobs")
    with service_of(home, blobs, lease_seconds=LEASE_SECONDS, heartbeat_seconds=0.1) as service:
        job = service.create(recipe=pb.Recipe(classic={"epoch_count": 10_000}))
        service.await_training(job.name)
        with blobs.held():
            waiting = [find_missing(service) for _ in range(NUM_CALLS)]
            later = datetime.now(UTC) + timedelta(seconds=3 * LEASE_SECONDS)
            until(lambda: lease_ends() > later)
            assert not any(call.done() for call in waiting)
        found = service.job(job.name)
        assert (found.state, found.attempt_count) == (pb.TRAINING_JOB_STATE_RUNNING, 1)
        assert [list(call.result().missing_digests) for call in waiting] == [[SOME_DIGEST]] * NUM_CALLS
        service.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
        assert service.await_end(job.name).state == pb.TRAINING_JOB_STATE_CANCELLED


def test_reads_are_answered_while_writers_wait(home: Path) -> None:
    """Another process holds SQLite's write lock, and twelve moves of an alias wait for it."""
    with running_service(home, num_concurrent_jobs=0) as service, write_lock(home):
        moves = [set_alias(service, f"alias{number}") for number in range(12)]
        service.registry.GetModel(registry_pb.GetModelRequest(name="models/base"), timeout=TIMEOUT)
        service.training.ListTrainingJobs(pb.ListTrainingJobsRequest(), timeout=TIMEOUT)
        service.training.PreviewDataset(pb.PreviewDatasetRequest(name="datasets/photos"), timeout=TIMEOUT)
        assert not any(move.done() for move in moves)
        for move in moves:
            move.cancel()


def test_what_waits_beyond_the_bound_is_refused_at_once(home: Path) -> None:
    """The caller is told that the service is busy, and what waits is done in the end."""
    blobs = HeldBlobs(home / "blobs")
    with service_of(home, blobs, num_concurrent_jobs=0) as service:
        with blobs.held():
            calls = [find_missing(service) for _ in range(250)]
            until(lambda: any(call.done() for call in calls))
            with pytest.raises(grpc.RpcError, match="slow threads"):
                find_missing(service).result()
        codes = [call.code() for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) > 200


def test_work_whose_caller_has_gone_is_never_begun() -> None:
    """Its place in the queue is free again, too."""

    async def run() -> list[str]:
        free, begun = threading.Event(), list[str]()
        with Threads("few", 1, max_waiting=1) as threads:
            first = asyncio.create_task(threads.run(free.wait))
            second = asyncio.create_task(threads.run(begun.append, "second"))
            await asyncio.sleep(0)
            with pytest.raises(Busy, match="few threads"):
                await threads.run(begun.append, "third")
            second.cancel()
            await asyncio.wait({second})
            fourth = asyncio.create_task(threads.run(begun.append, "fourth"))
            await asyncio.sleep(0)
            free.set()
            await asyncio.gather(first, fourth)
        return begun

    assert asyncio.run(run()) == ["fourth"]


def find_missing(service: RunningService) -> grpc.Future:
    """Begin to ask whether a blob is stored."""
    request = registry_pb.FindMissingBlobsRequest(digests=[SOME_DIGEST])
    return service.registry.FindMissingBlobs.future(request, timeout=TIMEOUT)


def set_alias(service: RunningService, alias: str) -> grpc.Future:
    """Begin to point an alias of `base` at its version."""
    name = f"models/base/aliases/{alias}"
    request = registry_pb.SetAliasRequest(name=name, version="models/base/versions/1")
    return service.registry.SetAlias.future(request, timeout=TIMEOUT)
