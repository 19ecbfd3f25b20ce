"""Services that are started before their database server wait for it, and end when they are told or it refuses them."""

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
import sqlalchemy
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.inference_service.running import until
from tests.postgres_server import postgres_server

services = pytest.mark.parametrize("module", ["training_service", "inference_service"])


def environment_of(module: str, home: Path, database_url: str) -> dict[str, str]:
    """Return the variables of a service on a free port."""
    prefix = f"MAAS_{module.partition('_')[0].upper()}_"
    return {
        **os.environ,
        "MAAS_HOME": str(home),
        "MAAS_DATABASE_URL": database_url,
        f"{prefix}BIND": "127.0.0.1:0",
        f"{prefix}ADDRESS_FILE": str(home / "address"),
    }


@contextmanager
def started(module: str, home: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a service whose database server, in this folder, does not run; give it once it has said that it waits."""
    url, command = f"postgresql+psycopg://maas@/postgres?host={folder}", [sys.executable, "-m", module]
    environment = environment_of(module, home, url)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
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


@pytest.mark.parametrize(
    ("module", "user", "database"),
    [
        ("training_service", "maas:wr0ng", "postgres"),
        ("inference_service", "maas:wr0ng", "postgres"),
        ("inference_service", "maas:right", "nowhere"),
        ("inference_service", "nobody:right", "postgres"),
    ],
)
def test_a_service_that_its_database_refuses_ends_at_once(
    postgres: str, module: str, user: str, database: str, tmp_path: Path
) -> None:
    """With 1 and a line that says what to check, without the password: no time mends a wrong one."""
    assert postgres
    with tempfile.TemporaryDirectory(prefix="maas-postgres-") as folder, postgres_server(Path(folder)) as url:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("ALTER USER maas PASSWORD 'right'")
            connection.commit()
        engine.dispose()
        (Path(folder) / "cluster/pg_hba.conf").write_text("local all all scram-sha-256\n")
        with sqlalchemy.create_engine(url).connect() as connection:
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        until(lambda: refuses(url))
        environment = environment_of(module, tmp_path, f"postgresql+psycopg://{user}@/{database}?host={folder}")
        ended = subprocess.run(
            [sys.executable, "-m", module], check=False, env=environment, capture_output=True, text=True, timeout=300
        )
    assert ended.returncode == 1
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("maas-")]
    assert "the database server is up and refuses the connection: check user, password and database" in said
    assert "Traceback" not in ended.stderr
    assert "wr0ng" not in ended.stderr + ended.stdout


def refuses(url: str) -> bool:
    """Say whether the server asks for a password by now."""
    try:
        sqlalchemy.create_engine(url).connect().close()
    except sqlalchemy.exc.OperationalError:
        return True
    return False


@services
def test_a_service_that_waits_ends_when_it_is_told(module: str, tmp_path: Path) -> None:
    """With 0, and without a traceback: it has nothing in flight."""
    with started(module, tmp_path, tmp_path / "nowhere") as process:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert "waiting_for_database" not in errors
