"""Evaluations and reports run in processes of their own: one that crashes ends alone, and none is left over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from maas.training.v1 import training_pb2 as pb

from grpc_runtime.child_process import command_of
from model_store.architectures import Head
from model_store.errors import InvalidInput, LeaseLost, StoreError, Violation
from tests.training_service.background import dying
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import (
    TIMEOUT,
    RunningService,
    refused,
    running_service,
    settings_of,
    until,
    worker_pids,
)
from training_service.background.order import MESSAGE, Kind, SideOrder, error_content, read_error
from training_service.background.tasks import BackgroundTasks, WorkerDied
from training_service.jobs.work_order import EXIT_STOPPED

SIDE_WORKER = "training_service.background_worker"
REQUEST = pb.EvaluateModelVersionRequest(name="models/conv", dataset="datasets/photos", split=pb.SPLIT_ALL)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service with a classifier, many photos and a few, and a runner."""
    with running_service(tmp_path, lease_seconds=5) as running:
        publish_base(running.store)
        publish_base(running.store, "conv", Head("conv", 2))
        files = {path.replace("red", "label 1").replace("blue", "label 0"): data for path, data in photos(60).items()}
        running.upload(tar_of(files))
        running.upload(tar_of(photos(6)), "few")
        yield running


def evaluating(service: RunningService) -> tuple[grpc.Call, int]:
    """Begin an evaluation; return it, and its process."""
    running = service.training.EvaluateModelVersion(REQUEST, timeout=TIMEOUT)
    assert next(running).progress.fraction_done < 1
    (pid,) = worker_pids(module=SIDE_WORKER)
    return running, pid


def test_a_native_crash_ends_an_evaluation_and_nothing_else(service: RunningService) -> None:
    """The caller is told of the signal; jobs run on, and the next evaluation succeeds."""
    job = service.create(dataset="datasets/few", recipe=pb.Recipe(classic={"epoch_count": 10_000}))
    service.await_training(job.name)
    running, pid = evaluating(service)
    os.kill(pid, signal.SIGSEGV)
    with refused(grpc.StatusCode.INTERNAL, "evaluation was ended by SIGSEGV"):
        list(running)
    *_, last = service.training.EvaluateModelVersion(REQUEST, timeout=TIMEOUT)
    assert last.evaluation.metrics.row_count == 120
    found = service.job(job.name)
    assert (found.state, found.attempt_count) == (pb.TRAINING_JOB_STATE_RUNNING, 1)
    service.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
    assert service.await_end(job.name).state == pb.TRAINING_JOB_STATE_CANCELLED


def test_an_evaluation_ends_with_its_caller(service: RunningService) -> None:
    """Its process is not left to work for nobody."""
    running, pid = evaluating(service)
    running.cancel()
    until(lambda: not psutil.pid_exists(pid))


@pytest.mark.usefixtures("service")
def test_a_side_worker_dies_with_its_service(tmp_path: Path) -> None:
    """The end of its standard input ends it in the middle of its work."""
    order = SideOrder(Kind.EVALUATE, REQUEST.SerializeToString(), settings_of(tmp_path))
    with subprocess.Popen(command_of(SIDE_WORKER), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(order.to_line())
        worker.stdin.flush()
        assert worker.stdout.read(1) == MESSAGE
        worker.stdin.close()
        assert worker.wait(TIMEOUT) == EXIT_STOPPED


@pytest.mark.parametrize(
    ("end", "told"),
    [("SIGSEGV", "SIGSEGV"), ("SIGKILL", "is there enough memory"), ("exit", "exit code 3"), ("half", "exit code 1")],
)
def test_a_process_that_dies_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, told: str
) -> None:
    """By a signal or with a code, before any message or in the middle of one; its place is free again."""
    monkeypatch.setenv(dying.END, end)
    background = BackgroundTasks(settings_of(tmp_path, num_concurrent_evaluations=1), module=dying.__name__)

    async def run() -> None:
        for _ in range(2):
            with pytest.raises(WorkerDied, match=told):
                assert [message async for message in background.run(Kind.REPORT, pb.GetReportRequest())] == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [
        LeaseLost("it is gone"),
        InvalidInput(Violation("split", "is none"), Violation("name", "is bad")),
        StoreError("x"),
    ],
)
def test_an_error_arrives_as_it_was_raised(error: StoreError) -> None:
    """Its kind, its text and its fields: the code on the wire is made of them."""
    arrived = read_error(error_content(error))
    assert (type(arrived), str(arrived)) == (type(error), str(error))
    assert getattr(arrived, "violations", ()) == getattr(error, "violations", ())
