"""Every line that a service writes to standard error is JSON, whoever has something to say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from maas.training.v1 import training_pb2 as pb
from maas.training.v1 import training_pb2_grpc

from tests.grpc_runtime.processes import service_process
from tests.training_service.making import open_store, photos, publish_base, tar_of
from tests.training_service.running import TIMEOUT, until, upload_messages

HEAD = """
import asyncio, gc, logging, sys, threading, warnings
import structlog
from grpc_runtime.logs import configure_logs
configure_logs(log_format="json", level="info")
"""
SAYINGS = {
    "ours": ("structlog.get_logger().warning('said', who='ours', number=1)", "said"),
    "library": ("logging.getLogger('some.library').warning('said %s', 'so')", "said so"),
    "exception": (
        "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('grpc').exception('it failed')",
        "it failed",
    ),
    "lines": ("logging.getLogger('x').error('one\\ntwo')", "one\ntwo"),
    "warning": ("warnings.warn('deprecated')", "deprecated"),
    "thread": ("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", "uncaught_exception"),
    "unraisable": (
        "class A:\n    def __del__(self): raise ValueError('in the end')\na = A(); del a; gc.collect()",
        "unraisable_exception",
    ),
    "task": (
        (
            "async def fail(): raise ValueError('nobody asks')\n"
            "async def main(): asyncio.create_task(fail()); await asyncio.sleep(0)\nasyncio.run(main()); gc.collect()"
        ),
        "Task exception was never retrieved",
    ),
    "uncaught": ("raise ValueError('the end')", "uncaught_exception"),
    "surrogate": ("logging.getLogger('x').error('a file \\udc80')", "a file \udc80"),
}


def said(text: str) -> list[dict[str, Any]]:
    """Run these lines in a process that logs, and return the lines of its standard error."""
    command = [sys.executable, "-c", HEAD + text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(("text", "event"), SAYINGS.values(), ids=SAYINGS)
def test_whoever_speaks_is_one_line(text: str, event: str) -> None:
    """Of JSON, with a level and a time, and with the traceback in it where there is one."""
    (line,) = said(text)
    assert event in line["event"]
    assert line["level"] in {"warning", "error", "critical"}
    assert line["timestamp"].endswith("Z")
    if "Error" in text or "1 / 0" in text:
        assert line["exception"].startswith("Traceback")


def test_what_libraries_say_of_themselves_is_left_out() -> None:
    """A record that cannot be written as well."""
    assert said("logging.getLogger('PIL').info('reading'); logging.getLogger('x').warning('%d', 'no number')") == []


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01" + bytes(200),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500,
    b"junk" * 1000,
]


def test_a_job_and_hostile_callers_are_logged_as_json(tmp_path: Path) -> None:
    """At the level debug, with a worker that is started, and bytes that are no HTTP/2."""
    publish_base(open_store(tmp_path))
    with service_process("training_service", tmp_path, LOG_LEVEL="debug") as process:
        stub = training_pb2_grpc.TrainingServiceStub(process.channel)
        dataset = stub.UploadDataset(upload_messages(tar_of(photos())), timeout=TIMEOUT)
        wanted = pb.TrainingJob(
            model="models/flowers", base="models/base", dataset=dataset.name, recipe=pb.Recipe(linear_probe={})
        )
        job = stub.CreateTrainingJob(pb.CreateTrainingJobRequest(training_job=wanted), timeout=TIMEOUT)
        for _ in stub.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job.name), timeout=TIMEOUT):
            pass
        job = stub.GetTrainingJob(pb.GetTrainingJobRequest(name=job.name), timeout=TIMEOUT)
        assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
        host, _, port = process.address.rpartition(":")
        for data in GARBAGE:
            with socket.create_connection((host, int(port)), TIMEOUT) as connection:
                connection.sendall(data)
                until(lambda connection=connection: _has_ended(connection))
        assert process.is_serving()
    assert {line["event"] for line in process.lines} >= {"listening"}


@pytest.mark.parametrize("package", ["training_service", "inference_service"])
def test_a_port_that_is_taken_is_one_line(tmp_path: Path, package: str) -> None:
    """Of the service's own, and none of gRPC's core."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        prefix = f"MAAS_{package.partition('_')[0].upper()}_"
        environment = {
            **os.environ,
            "MAAS_HOME": str(tmp_path),
            f"{prefix}BIND": f"127.0.0.1:{taken.getsockname()[1]}",
        }
        done = subprocess.run(
            [sys.executable, "-m", package],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    *logged, last = done.stderr.splitlines()
    assert "cannot listen on 127.0.0.1" in last
    assert all(json.loads(line) for line in logged)
    assert done.returncode == 1


def _has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1000)
    except ConnectionError:
        return True
