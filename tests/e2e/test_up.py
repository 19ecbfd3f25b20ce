"""`maas up` and what a person meets around it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import jsonschema
import psutil
import pytest

from grpc_runtime.child_process import command_of
from maas_client.views.schemas import schema_of
from maas_client.wire.health import is_serving
from tests.e2e.conftest import ENVIRONMENT
from tests.inference_service.making import Recipe, open_registry


def start_up(home: Path, **variables: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start `maas up` on free ports and return it with the addresses it prints."""
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "MAAS_HOME": str(home),
        "MAAS_TRAINING_BIND": "127.0.0.1:0",
        "MAAS_INFERENCE_BIND": "127.0.0.1:0",
        **variables,
    }
    command = [*command_of("maas_client"), "up", "--json"]
    up = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert up.stdout is not None
    printed = ""
    while not printed.endswith("}\n"):
        line = up.stdout.readline()
        assert line, up.communicate()
        printed += line
    addresses = json.loads(printed)
    jsonschema.Draft202012Validator(schema_of("up")).validate(addresses)
    return up, addresses


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_service_outlives_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a polite end and kill -9 of `maas up`: the services end, and their ports are free again."""
    up, addresses = start_up(tmp_path)
    assert all(is_serving(addresses[name]) for name in ("training", "inference"))
    services = [each.pid for each in psutil.Process(up.pid).children()]
    ends = [os.pidfd_open(pid) for pid in services]
    up.send_signal(number)
    assert up.wait(60) == (-number if number == signal.SIGKILL else 0)
    for end in ends:
        assert _has_ended_within(end, 30)
    assert not any(is_serving(addresses[name]) for name in ("training", "inference"))


def test_a_service_that_ends_by_itself_ends_the_command(tmp_path: Path) -> None:
    """The message says which service, how it ended, and where its log is."""
    up, _ = start_up(tmp_path)
    psutil.Process(up.pid).children()[0].kill()
    _, errors = up.communicate(timeout=60)
    assert up.returncode == 1
    assert "_service was killed by signal 9; its log is" in errors.replace("\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"MAAS_DATABASE_URL": "nonsense"}, "must be sqlite:///FILE or postgresql://"),
        pytest.param({"MAAS_DATABASE_URL": "mysql://u@h/d"}, "not mysql", marks=pytest.mark.slow),
        pytest.param({"MAAS_DATABASE_URL": "sqlite:////proc/x/y.db"}, "/proc/x", marks=pytest.mark.slow),
        ({"MAAS_HOME": "/proc/nope"}, "MAAS_HOME=/proc/nope cannot be used"),
        ({"MAAS_DRAIN_SECONDS": "abc"}, "drain_seconds"),
        ({"MAAS_TRAINING_BIND": "banana"}, "bind: must be host:port"),
    ],
)
def test_a_wrong_setting_is_explained(tmp_path: Path, variables: dict[str, str], text: str) -> None:
    """One line says which setting, and no traceback is shown."""
    environment = {**os.environ, "MAAS_HOME": str(tmp_path), "MAAS_INFERENCE_BIND": "127.0.0.1:0", **variables}
    environment.setdefault("MAAS_TRAINING_BIND", "127.0.0.1:0")
    command = [*command_of("maas_client"), "up"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert text in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_the_command_runs_behind_a_proxy_and_names_mistyped_variables(tmp_path: Path) -> None:
    """Services are asked for their health without the proxy; a name that each ignores is shown once."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")
    mistyped = {"MAAS_LOG_LEVLE": "debug", "MAAS_INFERENCE_NUM_THREAD": "1", "MAAS_TRAINING_SPEED": "high"}
    up, _ = start_up(tmp_path, **proxies, **mistyped, MAAS_TRAINING_BIND="0.0.0.0:0")
    up.send_signal(signal.SIGINT)
    _, errors = up.communicate(timeout=60)
    assert up.returncode == 0
    said = [line for line in errors.splitlines() if "is not a setting" in line]
    assert sorted(said) == [
        "MAAS_INFERENCE_NUM_THREAD is not a setting and is ignored: do you mean MAAS_INFERENCE_NUM_THREADS?",
        "MAAS_LOG_LEVLE is not a setting and is ignored: do you mean MAAS_LOG_LEVEL?",
        "MAAS_TRAINING_SPEED is not a setting and is ignored",
    ]


def test_a_second_command_on_one_home_says_who_is_there(tmp_path: Path) -> None:
    """It touches nothing of the first one's; when that has ended, by kill -9 too, the home is free."""
    first, addresses = start_up(tmp_path)
    command = [*command_of("maas_client"), "up"]
    second = subprocess.run(
        command,
        env={**os.environ, "MAAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 1
    for part in (f"process {first.pid} runs services on {tmp_path}", addresses["training"], addresses["inference"]):
        assert part in second.stderr
    assert all(is_serving((tmp_path / f"run/{name}_service.address").read_text()) for name in ("training", "inference"))
    first.kill()
    first.wait()
    third, _ = start_up(tmp_path)
    third.send_signal(signal.SIGINT)
    assert third.wait(60) == 0


def test_a_model_that_cannot_be_loaded_is_named_and_the_rest_is_served(tmp_path: Path) -> None:
    """The service is not ready, which is no reason to end it."""
    _, digest = open_registry(tmp_path).publish_damaged(Recipe(head=1), "head", None)
    up, addresses = start_up(tmp_path)
    assert not is_serving(addresses["inference"])
    assert is_serving(addresses["training"])
    up.send_signal(signal.SIGINT)
    _, errors = up.communicate(timeout=60)
    assert up.returncode == 0
    assert (
        "not ready: nothing answers to models/flowers/aliases/production: models/flowers/versions/1 could not" in errors
    )
    assert digest in errors


def _has_ended_within(pidfd: int, seconds: float) -> bool:

    return bool(select.select([pidfd], [], [], seconds)[0])
