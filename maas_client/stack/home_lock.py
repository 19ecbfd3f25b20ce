"""One owner for each home: two commands that start services on one would delete each other's files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from maas_client.failures import CommandFailed


class HomeLock:
    """A lock on `MAAS_HOME/run`, which the system lets go of however its owner ends; not for several threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._folder = home / "run"
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Take the lock, unless it is held already; raise CommandFailed, saying who has it, where another process does.

        Raises OSError where the folder cannot be used.
        """
        if sys.platform == "win32":
            raise CommandFailed(
                "the services run on Linux and macOS: start them there, and say here where they are "
                "(MAAS_TRAINING_ADDRESS, MAAS_INFERENCE_ADDRESS)"
            )
        import fcntl

        if self._file is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = (self._folder / "owner").open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip()
            file.close()
            raise CommandFailed(self._in_use(owner)) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let go of the lock, where it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _in_use(self, owner: str) -> str:
        places = ", ".join(
            f"{path.stem} at {path.read_text(encoding='utf-8')}" for path in sorted(self._folder.glob("*.address"))
        )
        serving = f" ({places})" if places else ""
        return (
            f"process {owner or 'unknown'} runs services on {self._home}{serving}: "
            "use those, stop it, or choose another folder (MAAS_HOME, or the demo's --output)"
        )
