"""The command in environments that people have: proxies, mistyped variables, no home, terminals without Unicode."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from typing import Never

import pytest

from grpc_runtime.child_process import command_of
from tests.maas_client.running import Maas, read
from tests.training_service.registry_running import RunningRegistry

DEAD_PROXY = "http://127.0.0.1:9"
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")


def in_process(registry: RunningRegistry, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own: gRPC and Python read these variables once."""
    environment = {**os.environ, "MAAS_TRAINING_ADDRESS": registry.address, **variables}
    command = [*command_of("maas_client"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("variable", PROXIES)
def test_what_is_on_this_machine_is_reached_without_a_proxy(registry: RunningRegistry, variable: str) -> None:
    """A proxy that does not answer changes nothing."""
    done = in_process(registry, "models", "--json", **{variable: DEAD_PROXY})
    assert (done.returncode, json.loads(done.stdout)) == (0, []), done.stderr


@pytest.mark.parametrize("variable", PROXIES)
def test_a_proxy_in_the_way_is_named(registry: RunningRegistry, variable: str) -> None:
    """The message names the variable that sends the call there, and what to set."""
    done = in_process(registry, "models", **{"MAAS_TRAINING_ADDRESS": "192.0.2.1:5000", variable: DEAD_PROXY})
    assert done.returncode == 5
    assert "the proxy at 127.0.0.1:9 does not lead to the service" in done.stderr.decode()
    assert f"{variable} is set" in done.stderr.decode()
    assert "no_proxy" in done.stderr.decode()
    done = in_process(registry, "health", "192.0.2.1:5000", **{variable: DEAD_PROXY})
    assert (done.returncode, done.stdout) == (1, b"NOT_SERVING\n")
    assert f"{variable} is set" in done.stderr.decode()


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:50052", "127.0.0.1:99999", "127.0.0.1:0", "banana", "localhost:", "::1:50052"]
)
@pytest.mark.parametrize("variable", ["MAAS_TRAINING_ADDRESS", "MAAS_TRAINING_BIND"])
def test_a_wrong_address_is_explained(
    command: Maas, monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    """The line names the variable and the form; port 99999 is not taken for 34463."""
    if (variable, address) == ("MAAS_TRAINING_BIND", "127.0.0.1:0"):
        pytest.skip("a bind to any free port is right")
    monkeypatch.setenv(variable, address)
    code, _, err = command("models")
    assert code == 2
    assert f"{variable} must be host:port" in err
    assert repr(address) in err


def test_a_host_that_no_name_server_knows_is_explained(command: Maas, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the address that is wrong, not the service that does not run."""
    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", "gpu.invalid:50052")
    code, _, err = command("models")
    assert code == 5
    assert "Is the address right?" in err


@pytest.mark.parametrize("address", ["dns:///localhost:50052", "unix:/run/maas.sock", "[::1]:50052", "gpu-1:50052"])
def test_every_way_to_write_an_address_is_taken(command: Maas, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """The command tries to reach it."""
    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", address)
    code, _, err = command("models")
    assert code == 5
    assert "UNAVAILABLE" in err


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("MAAS_TRAINING_ADRESS", "MAAS_TRAINING_ADDRESS"),
        ("MAAS_INFERENCE_ADDRES", "MAAS_INFERENCE_ADDRESS"),
        ("MAAS_HOMEE", "MAAS_HOME"),
    ],
)
def test_a_mistyped_variable_is_named(maas: Maas, monkeypatch: pytest.MonkeyPatch, variable: str, near: str) -> None:
    """The command works, and says on standard error which variable was meant."""
    monkeypatch.setenv(variable, "x")
    code, out, err = maas("models", "--json")
    assert (code, json.loads(out)) == (0, [])
    assert err == f"{variable} is not a setting and is ignored: do you mean {near}?\n"


def test_variables_of_the_services_are_not_taken_for_mistyped_ones(maas: Maas, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container has them all."""
    for name in ("TRAINING_ADDRESS_FILE", "INFERENCE_ADDRESS_FILE", "TRAINING_INFERENCE_ADDRESSES", "DATABASE_URL"):
        monkeypatch.setenv(f"MAAS_{name}", "x")
    assert read(maas, "models") == []


@pytest.mark.parametrize("arguments", [("up",), ("store", "du"), ("demo",)])
def test_a_user_without_a_home_is_told_what_to_set(
    command: Maas, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """As in a container under a bare number: no HOME, and no entry in the list of users."""

    def nobody(uid: int) -> Never:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "MAAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    code, _, err = command(*arguments)
    assert code == 1
    assert "there is none for this user: set " in err


def test_a_wrong_setting_of_the_store_is_explained(command: Maas, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names it."""
    monkeypatch.setenv("MAAS_CACHE_BYTES", "much")
    code, _, err = command("store", "du")
    assert code == 2
    assert err.startswith("error cache_bytes: ")


def test_a_terminal_without_unicode_gets_what_it_can_show(registry: RunningRegistry) -> None:
    """Tables have `?` for what ASCII lacks; JSON is escaped and complete."""
    text = "Blüten 花 \U0001f33c"
    made = in_process(registry, "models", "create", "flowers", "--description", text)
    assert made.returncode == 0, made.stderr
    shown = in_process(registry, "show", "flowers", PYTHONIOENCODING="ascii")
    assert shown.returncode == 0, shown.stderr
    assert b"Bl?ten ? ?" in shown.stdout
    as_json = in_process(registry, "show", "flowers", "--json", PYTHONIOENCODING="ascii")
    assert json.loads(as_json.stdout.decode("ascii"))["description"] == text


def test_an_argument_that_is_no_text_is_explained(registry: RunningRegistry) -> None:
    """Bytes of another encoding have no place in a message."""
    done = in_process(registry, "show", os.fsdecode(b"\xff"))
    assert done.returncode == 2
    assert b"is not text" in done.stderr
    assert b"Traceback" not in done.stderr


def test_imports_stay_light() -> None:
    """Reading variables costs a command no library of the services."""
    script = "import sys, maas_client.__main__; print([m for m in ('pydantic', 'structlog') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
