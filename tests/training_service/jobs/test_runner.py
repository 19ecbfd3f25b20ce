"""Runners and workers that die, stop, or lose their claim: a job always has one owner and one end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from maas.training.v1 import training_pb2 as pb
from maas.training.v1 import training_pb2_grpc

from grpc_runtime.child_process import command_of
from model_store.names import VersionName, parse_job
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobSpec
from model_store.registry.jobs import Claim, JobStore
from model_store.transactions.listings import ListRequest
from tests.training_service.making import open_store, photos, publish_base, tar_of
from tests.training_service.running import (
    running_service,
    settings_of,
    until,
    worker_pids,
)
from training_service.jobs.work_order import EXIT_STOPPED, WorkOrder
from training_service.jobs.worker import Worker
from training_service.recipes.recipe import DEFAULTS, RecipeName

PROBE = DEFAULTS[RecipeName.LINEAR_PROBE].to_json()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a store with `base` and `photos`, whose service is gone."""
    with running_service(tmp_path, num_concurrent_jobs=0) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(6)))
    return tmp_path


@contextmanager
def claimed_job(home: Path, lease_seconds: float) -> Iterator[tuple[JobStore, WorkOrder]]:
    """Queue a linear probe and claim it."""
    settings = settings_of(home, lease_seconds=lease_seconds)
    with closing(settings.open_database()) as database:
        jobs = JobStore(database, lease_seconds=lease_seconds)
        jobs.enqueue(JobSpec("flowers", VersionName("base", 1), "photos", PROBE, 0, None))
        claim = jobs.claim("first")
        assert claim is not None
        yield jobs, WorkOrder(claim, settings)


def work(order: WorkOrder) -> int:
    """Work on an order in this process, as a worker does."""
    with closing(order.settings.open_database()) as database:
        return Worker(order, database, threading.Event()).run()


def test_a_worker_without_its_claim_changes_nothing(home: Path) -> None:
    """The lease ran out and another runner has the job: the first one's worker ends, and the other's goes on."""
    with claimed_job(home, 1.0) as (jobs, order):
        second: list[Claim] = []
        until(lambda: bool(second or second.extend(filter(None, [jobs.claim("second")]))))
        before = jobs.get(order.claim.job_id)
        assert work(order) == EXIT_STOPPED
        assert jobs.get(order.claim.job_id) == before
        assert work(WorkOrder(second[0], order.settings)) == 0
        assert (jobs.get(order.claim.job_id).state, jobs.get(order.claim.job_id).num_attempts) == (
            JobState.SUCCEEDED,
            2,
        )
    assert len(open_store(home).list_versions("flowers", ListRequest()).items) == 1


def test_a_worker_dies_with_its_runner(home: Path) -> None:
    """The end of its standard input ends it, whatever it does."""
    with claimed_job(home, 30.0) as (jobs, order):
        worker = subprocess.Popen(command_of("training_service.jobs.worker"), stdin=subprocess.PIPE)
        assert worker.stdin is not None
        worker.stdin.write(order.to_line())
        worker.stdin.close()
        assert worker.wait(30) == EXIT_STOPPED
        assert jobs.get(order.claim.job_id).state is not JobState.SUCCEEDED


def test_a_stopped_service_hands_its_job_back(home: Path) -> None:
    """The worker ends with the service, and the next service goes on with the job."""
    with running_service(home) as service:
        job = service.create(recipe=pb.Recipe(classic={"epoch_count": 100}))
        service.await_training(job.name)
        service.stop()
        assert not worker_pids()
    with closing(settings_of(home).open_database()) as database:
        jobs, job_id = JobStore(database), parse_job(job.name, "name")
        assert (jobs.get(job_id).state, jobs.get(job_id).num_attempts) == (JobState.QUEUED, 1)


@pytest.mark.parametrize("is_paused", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["killed", "and paused"])
def test_a_killed_job_ends_with_the_weights_of_one_that_was_not(home: Path, *, is_paused: bool) -> None:
    """Its worker is killed after some steps, it is paused after some more, and goes on each time from where it was."""
    recipe = pb.Recipe(full={"epoch_count": 6, "batch_size": 4})
    with running_service(home, checkpoint_seconds=0.0, poll_seconds=0.05) as service:
        calm, job = service.create(recipe=recipe, model="models/calm"), service.create(recipe=recipe)
        list(service.watch(calm.name))
        until(lambda: service.job(job.name).checkpoint_step >= 2)
        (worker,) = worker_pids()
        os.kill(worker, signal.SIGKILL)
        until(lambda: service.job(job.name).attempt_count == 2)
        if is_paused:
            seen = service.job(job.name).checkpoint_step
            until(lambda: service.job(job.name).checkpoint_step > seen)
            service.training.PauseTrainingJob(pb.PauseTrainingJobRequest(name=job.name))
            until(lambda: service.job(job.name).state == pb.TRAINING_JOB_STATE_PAUSED)
            service.training.ResumeTrainingJob(pb.ResumeTrainingJobRequest(name=job.name))
        texts = [event.message for event in service.watch(job.name)]
        assert sum(text.startswith("goes on after step") for text in texts) == 1 + is_paused
        assert service.job(job.name).state == pb.TRAINING_JOB_STATE_SUCCEEDED
    store = open_store(home)
    ends = [store.get_version(VersionName(model, 1)) for model in ("calm", "flowers")]
    assert ends[0].manifest_digest == ends[1].manifest_digest
    assert ends[0].metrics == ends[1].metrics


def test_a_watch_ends_when_the_service_stops(home: Path) -> None:
    """The client is told to come back, and the service need not wait for it."""
    with running_service(home, num_concurrent_jobs=0) as service:
        events = service.watch(service.create().name)
        assert next(events).sequence == 1
        service.stop()
        with pytest.raises(grpc.RpcError) as caught:
            next(events)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.slow
def test_a_killed_service_leaves_a_job_that_its_successor_finishes(home: Path) -> None:
    """Kill -9: the worker dies too, the lease runs out, and the job starts again."""
    with process(home) as (service, stub):
        job = create(stub, pb.Recipe(classic={"epoch_count": 10_000}))
        for event in stub.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job.name)):
            if event.progress.epoch:
                break
        workers = worker_pids(service.pid)
        assert len(workers) == 1
        service.kill()
        until(lambda: not any(map(psutil.pid_exists, workers)))
    with process(home) as (service, stub):
        for event in stub.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job.name)):
            if event.message.startswith("attempt 1 was lost") and "is gone" in event.message:
                break
        stub.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
        list(stub.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job.name)))
        ended = stub.GetTrainingJob(pb.GetTrainingJobRequest(name=job.name))
        assert ended.state == pb.TRAINING_JOB_STATE_CANCELLED
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"MAAS_TRAINING_LEASE_SECONDS": "soon"}, "lease_seconds: "),
        ({"MAAS_DATABASE_URL": "sqlite:////proc/none/store.db"}, "maas-training-service: "),
    ],
)
def test_a_service_that_cannot_start_says_why(tmp_path: Path, environment: dict[str, str], text: str) -> None:
    """One line on standard error, and exit code 1."""
    assert_cannot_start({"MAAS_HOME": str(tmp_path), **environment}, text)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Two services never share a port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_cannot_start({"MAAS_HOME": str(tmp_path), "MAAS_TRAINING_BIND": address}, f"cannot listen on {address}")


def assert_cannot_start(environment: dict[str, str], text: str) -> None:
    """Expect the service to end with one line that says why."""
    env = {**os.environ, "MAAS_LOG_LEVEL": "error", **environment}
    command = command_of("training_service")
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert text in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def create(stub: training_pb2_grpc.TrainingServiceStub, recipe: pb.Recipe) -> pb.TrainingJob:
    """Queue a job."""
    job = pb.TrainingJob(model="models/flowers", base="models/base", dataset="datasets/photos", recipe=recipe)
    return stub.CreateTrainingJob(pb.CreateTrainingJobRequest(training_job=job))


@contextmanager
def process(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], training_pb2_grpc.TrainingServiceStub]]:
    """Run a service as a process of its own, with short leases."""
    chosen = {"LEASE_SECONDS": "2", "HEARTBEAT_SECONDS": "0.2", "BIND": "127.0.0.1:0", "POLL_SECONDS": "0.1"}
    env = {**os.environ, "MAAS_HOME": str(home), "MAAS_TRAINING_ADDRESS_FILE": str(home / "address")}
    (home / "address").unlink(missing_ok=True)
    service = subprocess.Popen(
        command_of("training_service"),
        env=env | {f"MAAS_TRAINING_{key}": value for key, value in chosen.items()},
    )
    try:
        until((home / "address").exists)
        with grpc.insecure_channel((home / "address").read_text()) as channel:
            yield service, training_pb2_grpc.TrainingServiceStub(channel)
    finally:
        service.kill()
        service.wait()
