"""Services that are started before their database server: they wait for it, say so once, and end when they are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.inference_service.running import until
from tests.postgres_server import postgres_server

services = pytest.mark.parametrize("module", ["training_service", "inference_service"])


@contextmanager
def started(module: str, home: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a service whose database server, in this folder, does not run; give it once it has said that it waits."""
    prefix = f"MAAS_{module.partition('_')[0].upper()}_"
    environment = {
        "MAAS_HOME": str(home),
        "MAAS_DATABASE_URL": f"postgresql+psycopg://maas@/postgres?host={folder}",
        f"{prefix}BIND": "127.0.0.1:0",
        f"{prefix}ADDRESS_FILE": str(home / "address"),
    }
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "waiting_for_database" in line)
            assert "does not answer" in line
            assert str(folder) in line
            yield process
        finally:
            process.kill()


@services
def test_a_service_waits_for_its_database(postgres: str, module: str, tmp_path: Path) -> None:
    """Once the server is up the service serves, and nothing but the wait was said until then."""
    assert postgres
    with (
        tempfile.TemporaryDirectory(prefix="maas-postgres-") as folder,
        started(module, tmp_path, Path(folder)),
        postgres_server(Path(folder)),
    ):
        until((tmp_path / "address").exists)
        with grpc.insecure_channel((tmp_path / "address").read_text()) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            serving = health_pb2.HealthCheckResponse.SERVING
            until(lambda: stub.Check(health_pb2.HealthCheckRequest()).status == serving)


@services
def test_a_service_that_waits_ends_when_it_is_told(module: str, tmp_path: Path) -> None:
    """With 0, and without a traceback: it has nothing in flight."""
    with started(module, tmp_path, tmp_path / "nowhere") as process:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert "waiting_for_database" not in errors
