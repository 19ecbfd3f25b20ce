"""The process: how it starts, refuses to start, and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import torch
from maas.inference.v1 import inference_pb2, inference_pb2_grpc
from sqlalchemy import text

from grpc_runtime.child_process import command_of
from grpc_runtime.settings import StoreSettings
from inference_service.__main__ import _compiled_stages, build
from inference_service.settings import InferenceSettings
from model_store.errors import InvalidInput
from tests.inference_service.making import Recipe, Registry, photo
from tests.inference_service.running import predict_request, until


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a service with a home of its own and a free port."""
    return {
        **os.environ,
        "MAAS_HOME": str(tmp_path),
        "MAAS_INFERENCE_BIND": "127.0.0.1:0",
        "MAAS_INFERENCE_ADDRESS_FILE": str(tmp_path / "address"),
    }


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another server listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start the service as a process."""
    command = command_of("inference_service")
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def fail_to_start(environment: dict[str, str]) -> str:
    """Start a service that cannot, expect exit code 1, and return what it says: one line, and no traceback."""
    process = start(environment)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


def test_sigterm_answers_what_is_in_flight_and_ends_with_0(
    environment: dict[str, str], registry: Registry, tmp_path: Path
) -> None:
    """A started process serves, and goes quietly."""
    registry.publish(Recipe())
    process = start(environment)
    until((tmp_path / "address").exists)
    with grpc.insecure_channel((tmp_path / "address").read_text()) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        for state in stub.WatchServedModels(inference_pb2.WatchServedModelsRequest(name="models/flowers"), timeout=60):
            if state.default_version:
                break
        in_flight = [stub.Predict.future(predict_request("models/flowers", *[photo(1)] * 64)) for _ in range(3)]
        assert in_flight[0].result().predictions
        process.send_signal(signal.SIGTERM)
        for each in in_flight[1:]:
            assert each.code() in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def test_a_taken_port_is_told_in_one_line(environment: dict[str, str], taken_port: int) -> None:
    """The address is in the message."""
    line = fail_to_start({**environment, "MAAS_INFERENCE_BIND": f"127.0.0.1:{taken_port}"})
    assert f"cannot listen on 127.0.0.1:{taken_port}" in line


def test_a_database_of_a_newer_release_is_told_in_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    """The message says which of the two to upgrade."""
    database = StoreSettings(home=tmp_path).open_database()
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    assert "upgrade this one" in fail_to_start(environment)


def test_settings_that_cannot_be_are_told_in_one_line(environment: dict[str, str]) -> None:
    """The setting is in the message."""
    assert "max_batch_cost" in fail_to_start({**environment, "MAAS_INFERENCE_MAX_BATCH_COST": "image=0"})


def test_starting_does_not_wait_for_torchvision() -> None:
    """It takes a second to import, and the first architecture that is built imports it."""
    code = "import sys, inference_service.__main__; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_backend_that_is_asked_for_and_missing_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install; `auto` serves by PyTorch instead."""
    monkeypatch.setattr("inference_service.__main__.openvino_version", lambda: None)
    chosen = InferenceSettings(home=tmp_path, cpu_backend="openvino")
    with pytest.raises(InvalidInput, match=r"openvino, which is not installed: pip install"), build(chosen):
        pass
    auto = InferenceSettings(home=tmp_path, cpu_backend="auto")
    assert _compiled_stages(auto, torch.device("cpu"), auto.open_blobs(), 1) is None
