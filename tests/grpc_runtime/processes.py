"""Both services as real processes on one store, and the log of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.training_service.running import TIMEOUT, until


@dataclass(frozen=True)
class Process:
    """One service, a channel to it, and what it has logged."""

    address: str
    channel: grpc.Channel
    log: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of the log; fails unless all of them are JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def is_serving(self) -> bool:
        """Say whether it reports that it serves."""
        answer = health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def service_process(package: str, home: Path, **settings: str) -> Iterator[Process]:
    """Run a service on the store in this folder until the block ends."""
    prefix = f"MAAS_{package.partition('_')[0].upper()}_"
    address_file, log = home / f"{package}.address", home / f"{package}.log"
    chosen = {"BIND": "127.0.0.1:0", "ADDRESS_FILE": str(address_file), "NUM_THREADS": "1", "DEVICE": "cpu", **settings}
    environment = {
        **os.environ,
        "MAAS_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        **{f"{prefix}{name}": value for name, value in chosen.items()},
    }
    with (
        log.open("wb") as stderr,
        subprocess.Popen([sys.executable, "-m", package], env=environment, stderr=stderr) as process,
    ):
        try:
            until(lambda: address_file.exists() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            address = address_file.read_text()
            with grpc.insecure_channel(address) as channel:
                running = Process(address, channel, log)
                until(running.is_serving)
                yield running
        finally:
            process.terminate()
            assert process.wait(TIMEOUT) == 0, log.read_text()


@contextmanager
def both_services(home: Path) -> Iterator[tuple[Process, Process]]:
    """Run the training and the inference service until the block ends."""
    with ExitStack() as stack:
        training = stack.enter_context(service_process("training_service", home, NUM_CONCURRENT_JOBS="0"))
        yield training, stack.enter_context(service_process("inference_service", home))
