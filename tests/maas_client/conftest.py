"""A real service of the registry, and the command that talks to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_client.__main__ import main
from tests.maas_client.desktop import Desktop
from tests.maas_client.running import Maas
from tests.training_service.registry_running import RunningRegistry, running_registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A server on an empty store."""
    with running_registry(tmp_path / "home") as running:
        yield running


@pytest.fixture
def maas(registry: RunningRegistry, command: Maas, monkeypatch: pytest.MonkeyPatch) -> Maas:
    """Run a command against the registry."""
    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", registry.address)
    return command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Maas:
    """Run a command; return its exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["maas", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        printed = capsys.readouterr()
        return int(exited.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desktop:
    """A desktop whose program that opens files is there, and prints what xdg-open prints where it finds no browser."""
    desktop = Desktop(tmp_path / "desktop")
    monkeypatch.setenv("PATH", f"{desktop.programs}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    return desktop
