"""Keeps the log files of running services within a limit: what is full moves to `.1`, and what was there to `.2`."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 32 * 1024 * 1024
NUM_KEPT = 3
_LOOK_SECONDS = 5.0


class LogLimit:
    """Looks at a file that others append to, every few seconds until it is stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="log-limit", daemon=True).start()

    def stop(self) -> None:
        """End looking."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            with suppress(OSError):  # removed by somebody, or the disk is full: the next look tries again
                rotate(self._path)


def rotate(path: Path, *, max_bytes: int = MAX_BYTES, num_kept: int = NUM_KEPT) -> None:
    """Copy a file over the limit to `.1`, move older copies on, and empty it.

    It is emptied and not renamed, since its writers have it open: they append, and go on at its new end. A line that is
    written between the copy and that is lost.
    """
    if not path.exists() or path.stat().st_size <= max_bytes:
        return
    copies = [path.with_name(f"{path.name}.{number}") for number in range(1, num_kept + 1)]
    for older, newer in zip(reversed(copies), reversed(copies[:-1]), strict=False):
        if newer.exists():
            newer.replace(older)
    shutil.copyfile(path, copies[0])
    os.truncate(path, 0)
