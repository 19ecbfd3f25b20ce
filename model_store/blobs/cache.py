"""Local copies of remote blobs, bounded in bytes: the least recently used are removed first.

Safe for several processes that share the folder. Entries are not flushed to the disk: a reader verifies its entry, and
drops a damaged one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

from filelock import FileLock

from model_store.blobs import checked
from model_store.blobs.files import unfinished_in

_ABANDONED_SECONDS = 24 * 3600  # age of a temporary file that no process writes any more


class BlobCache:
    """A folder of blobs by digest, and a folder `temporary` for unfinished ones."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._entries = root / "sha256"
        self.temporary = root / "tmp"
        self._max_bytes = max_bytes
        for folder in (self._entries, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / "lock")
        self._remove_abandoned()

    def open(self, digest: str) -> FileIO | None:
        """Open an entry, unverified, and remember that it was used; it stays readable when it is dropped meanwhile."""
        try:
            file = self._path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            return None
        os.utime(file.fileno())
        return file

    def add(self, file: Path, digest: str) -> None:
        """Move a complete file from `temporary` into the cache; a file larger than the bound stays there."""
        size = file.stat().st_size
        if size > self._max_bytes:
            return
        path = self._path(digest)
        with self._lock:
            self._make_room(size, besides=path)
            path.parent.mkdir(exist_ok=True)
            file.rename(path)

    def drop(self, digest: str) -> None:
        """Remove an entry, if there is one."""
        self._path(digest).unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        """Remove the temporary files of killed processes of this machine; no other process knows of them."""
        for file in unfinished_in(self.temporary):
            if file.started_at < time.time() - _ABANDONED_SECONDS:
                Path(file.id).unlink(missing_ok=True)

    def _make_room(self, size: int, *, besides: Path) -> None:
        entries = sorted(self._statuses(besides))
        excess = size + sum(entry_size for _, entry_size, _ in entries) - self._max_bytes
        for _, entry_size, path in entries:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= entry_size

    def _statuses(self, besides: Path) -> Iterator[tuple[int, int, Path]]:
        """Yield when each other entry was last used, its size and its path."""
        for path in self._entries.glob("*/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if path != besides:
                    yield status.st_mtime_ns, status.st_size, path

    def _path(self, digest: str) -> Path:
        return self._entries / checked(digest)[:2] / digest
