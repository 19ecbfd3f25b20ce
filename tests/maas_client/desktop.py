"""A desktop as commands see it: a program that opens files."""

from __future__ import annotations

import threading
import time
from pathlib import Path

_WAIT_SECONDS = 20.0


class Desktop:
    """A folder of programs with an `xdg-open` in it, which notes what it is to open, and complains."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        self._opened = folder / "opened"
        program = self.programs / "xdg-open"
        program.write_text(
            f"#!/bin/sh\necho \"$1\" >> '{self._opened}'\necho 'no method available' | tee /dev/stderr\n"
        )
        program.chmod(0o755)

    def opened(self) -> list[str]:
        """Return what was to be opened until now."""
        return self._opened.read_text().splitlines() if self._opened.exists() else []

    def await_opened(self) -> list[str]:
        """Wait until something was to be opened, and return it: the command does not wait for the program."""
        give_up = time.monotonic() + _WAIT_SECONDS
        while not self.opened():
            assert time.monotonic() < give_up
            threading.Event().wait(0.01)
        return self.opened()
