"""What a caller is told when the infrastructure fails: the kind and the remedy; the log has hosts, users and paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy
from maas.model_store.v1 import model_store_pb2 as registry_pb
from maas.training.v1 import training_pb2 as pb
from structlog.testing import capture_logs

from tests.postgres_server import new_database
from tests.training_service.making import publish_base
from tests.training_service.running import TIMEOUT, RunningService, running_service

BASE = registry_pb.DownloadModelVersionRequest(name="models/base/versions/1")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder whose name nobody should read outside of the log."""
    folder = tmp_path / "secret-home"
    folder.mkdir()
    return folder


@pytest.fixture
def service(home: Path) -> Iterator[RunningService]:
    """A service that may read datasets below one folder, with `base` published."""
    roots = (f"file://{home}/data",)
    (home / "data").mkdir()
    with running_service(home, num_concurrent_jobs=0, dataset_roots=roots) as running:
        publish_base(running.store)
        yield running


def refusal_of(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, list[str]]:
    """Return how a call was refused, and what was logged of it."""
    with capture_logs() as logged, pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details(), [each["reason"] for each in logged if "reason" in each]


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_where_a_blob_lies_is_not_told(service: RunningService, home: Path, damage: str) -> None:
    """A stage and a manifest, missing or corrupt: which one, and what to do."""
    blobs = home / "blobs/sha256"
    for file in blobs.rglob("*"):
        if file.is_file() and damage == "missing":
            file.unlink()
        elif file.is_file():
            file.chmod(0o644)
            file.write_bytes(b"x")
    code, told, logged = refusal_of(lambda: list(service.registry.DownloadModelVersion(BASE, timeout=TIMEOUT)))
    assert code is grpc.StatusCode.DATA_LOSS
    assert "publish the model again" in told
    assert str(home) not in told
    (reason,) = logged
    assert str(home) in reason


def test_where_a_dataset_root_lies_is_told_to_nobody_who_does_not_know_it(service: RunningService, home: Path) -> None:
    """What the system says of a file stays in the log; the caller's own name of it is enough."""
    name = "x" * 300  # longer than a name can be
    request = pb.RegisterDatasetRequest(dataset_id="photos", uri=f"file://{home}/data/{name}")
    code, told, logged = refusal_of(lambda: service.training.RegisterDataset(request, timeout=TIMEOUT))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "cannot be opened or read" in told
    assert str(home) not in told
    assert "File name too long" in logged[0]


def test_where_the_database_runs_is_not_told(postgres: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lets nobody in any more: reads and writes are UNAVAILABLE, and name neither host, user nor database."""
    database = new_database(postgres)
    name = f"private_{database.url.query['options'][-8:]}"
    administrator = sqlalchemy.create_engine(database.url, isolation_level="AUTOCOMMIT").connect()
    administrator.exec_driver_sql(f"CREATE DATABASE {name}")
    url = database.url.set(database=name).difference_update_query(["options"])
    monkeypatch.setenv("MAAS_DATABASE_URL", url.render_as_string(hide_password=False))
    with running_service(home, num_concurrent_jobs=0) as service:
        publish_base(service.store)
        administrator.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        administrator.exec_driver_sql(kill, (name,))
        request = registry_pb.CreateModelRequest(model_id="cats")
        for call in (
            lambda: list(service.registry.DownloadModelVersion(BASE, timeout=TIMEOUT)),
            lambda: service.registry.CreateModel(request, timeout=TIMEOUT),
        ):
            code, told, logged = refusal_of(call)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert told == "the database does not answer: check that it runs and can be reached"
            assert any(name in reason for reason in logged)
    administrator.close()
    database.close()
