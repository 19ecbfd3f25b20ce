"""What every command prints with `--json` is what its schema says, as real services answer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from grpc_runtime.child_process import command_of
from maas_client.__main__ import app
from maas_client.views.outputs import OUTPUTS
from maas_client.views.schemas import schema_of
from tests.inference_service import running as inference
from tests.maas_client.running import Maas
from tests.training_service import running as training

ELSEWHERE = {"up": "tests/e2e/test_up.py", "demo": "takes minutes"}
"""Commands that are not run here, and why."""
FEATURES = ("a", "b", "c", "d")
NUM_ROWS = 45
BEGINNING = re.compile(r"^[\[{]", re.MULTILINE)


def documented(group: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the words of every command that has `--json`."""
    if any("--json" in parameter.opts for parameter in group.params):
        yield " ".join(words)
    for name, each in getattr(group, "commands", {}).items():
        yield from documented(each, (*words, name))


def test_every_command_with_json_has_a_schema() -> None:
    """And no other has one; each is a schema."""
    assert set(documented(typer.main.get_command(app))) == set(OUTPUTS)
    for command in OUTPUTS:
        jsonschema.Draft202012Validator.check_schema(schema_of(command))


@dataclass
class Shell:
    """Types commands, and holds that what they print fits their schemas."""

    maas: Maas
    monkeypatch: pytest.MonkeyPatch
    checked: set[str] = field(default_factory=set)

    def __call__(self, command: str, *arguments: str) -> Any:
        """Run a command of these words; return what it printed."""
        code, out, err = self.maas(*command.split(), *arguments, "--json")
        assert code == 0, (command, err)
        return self.check(command, out)

    def check(self, command: str, text: str) -> Any:
        """Hold that a text fits a command's schema; lines that the services log beside it are passed over."""
        found, _ = json.JSONDecoder().raw_decode(text, BEGINNING.search(text).start())  # type: ignore[union-attr]
        jsonschema.Draft202012Validator(schema_of(command)).validate(found)
        self.checked.add(command)
        return found


def write_table(path: Path) -> None:
    """Write a CSV file of three labels."""
    rows = [f"{number % 7},{number % 3},{number % 5},{number},{'xyz'[number % 3]}" for number in range(NUM_ROWS)]
    path.write_text("\n".join([",".join([*FEATURES, "label"]), *rows]))


@pytest.fixture
def shell(tmp_path: Path, command: Maas, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in a folder with a table, which finds both services."""
    home, folder = tmp_path / "home", tmp_path / "user"
    home.mkdir()
    folder.mkdir()
    write_table(folder / "table.csv")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MAAS_HOME", str(home))
    shell = Shell(command, monkeypatch)
    shell("store migrate")
    with inference.running_service(home) as served, training.running_service(home, dataset_roots=(f"file://{folder}",)):
        monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (home / "address").read_text())
        monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", served.address)
        yield shell


def test_what_is_printed_fits(shell: Shell, tmp_path: Path) -> None:
    """One user's way through all commands."""
    shell("bases")
    shell("import", "mlp", "--random", "0", "--widths", "4,8", "--model", "base")
    shell("datasets upload", "table.csv", "--id", "numbers")
    shell("datasets register", "registered", Path("table.csv").resolve().as_uri())
    for command in ("datasets", "datasets list"):
        assert len(shell(command)) == 2
    shell("datasets show", "numbers")
    shell("datasets delete", "registered", "--yes")
    shell("datasets undelete", "registered")
    job = shell("finetune", "datasets/numbers", "--base", "base", "--model", "flowers", "--alias", "production")
    for command in ("jobs", "jobs list"):
        assert len(shell(command)) == 1
    for command in ("jobs show", "jobs watch"):
        assert shell(command, "latest")["name"] == shell(command, job["name"][:20])["name"] == job["name"]
    look_at_the_registry(shell)
    change_the_registry(shell)
    operate(shell, tmp_path)
    wait_in_a_queue(shell, tmp_path / "idle")
    assert shell.checked == set(OUTPUTS) - set(ELSEWHERE)


def look_at_the_registry(shell: Shell) -> None:
    """List, show and ask what is there."""
    for command in ("models", "models list"):
        assert len(shell(command)) == 2
    shell("versions", "flowers")
    shell("show", "flowers")
    shell("show", "flowers/1")
    shell("compare", "base/1", "flowers/1")
    shell("evaluate", "flowers/1")
    shell("recommend", "numbers", "--base", "base")
    shell("lineage", "flowers/1")
    answers = shell("predict", "flowers", "table.csv", "--columns", ",".join(FEATURES))
    assert len(answers) == NUM_ROWS
    found = shell("status")
    assert [each["serving"] for each in found["services"]] == [True, True]
    shell("health", os.environ["MAAS_TRAINING_ADDRESS"])


def change_the_registry(shell: Shell) -> None:
    """Name, describe, delete and bring back."""
    shell("models create", "empty", "--description", "Nothing yet.")
    for command, arguments in (("tag", ["team=vision"]), ("describe", ["Ours."])):
        shell(command, "flowers", *arguments)
        shell(command, "flowers/1", *arguments)
    shell("alias set", "base", "stable", "1")
    shell("alias show", "base", "stable")
    assert len(shell("alias list")) == 2
    shell("alias history", "base", "stable")
    shell("import", "mlp", "--random", "1", "--widths", "4,8", "--model", "base", "--alias", "stable")
    shell("alias rollback", "base", "stable")
    shell("alias delete", "base", "stable", "--yes")
    shell("delete", "base/2", "--yes")
    shell("undelete", "base/2")


def operate(shell: Shell, folder: Path) -> None:
    """Look after the store."""
    shell("store export", "flowers/1", str(folder / "flowers.maas"))
    shell("store import", str(folder / "flowers.maas"), "--model", "again")
    shell("store fsck")
    shell("store du")
    shell("store gc")
    shell("store prune", "--keep-last", "1")
    command = [*command_of("maas_client"), "watch", "--after", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        shell.check("watch", watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=60)


def wait_in_a_queue(shell: Shell, home: Path) -> None:
    """Pause, resume, cancel and retry a job of a service that runs none."""
    home.mkdir()
    with training.running_service(home, num_concurrent_jobs=0):
        shell.monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (home / "address").read_text())
        shell("import", "mlp", "--random", "0", "--widths", "4,8", "--model", "base")
        shell("finetune", "table.csv", "--base", "base", "--detach")
        for verb in ("pause", "resume", "cancel", "retry"):
            shell(f"jobs {verb}", "latest")


def test_schemas_are_printed(command: Maas) -> None:
    """For programs that check what they read; without a command, those that have one are listed."""
    code, out, _ = command("schema", "jobs", "show")
    assert (code, json.loads(out)) == (0, schema_of("jobs show"))
    code, out, _ = command("schema")
    assert (code, out.split("\n")[:-1]) == (0, list(OUTPUTS))
    code, _, err = command("schema", "jobs", "shw")
    assert (code, "do you mean jobs show?" in err) == (2, True)
