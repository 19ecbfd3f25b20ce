"""A folder of this machine that datasets may be read from; what is opened lies in it, whatever links say."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from model_store.errors import InvalidInput, Unavailable

_CHUNK_BYTES = 1024 * 1024
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class LocalRoot:
    """Files below one folder, opened name by name from it, so that nobody who swaps a folder for a link leads out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, name: str) -> int | None:
        """Return the size of a file; None where there is no file of this name, or a link on the way."""
        with self._opened(name) as descriptor:
            found = os.fstat(descriptor) if descriptor is not None else None
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None

    def sizes_below(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield path, below the folder of this name, and size of each file; raise InvalidInput for a link or device."""
        with self._opened(name) as descriptor:
            if descriptor is None:
                return
            for folder, folders, files, here in os.fwalk(".", dir_fd=descriptor, follow_symlinks=False):
                for each in files + folders:
                    path = f"{folder}/{each}".removeprefix("./")
                    found = os.stat(each, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode):
                        yield path, found.st_size
                    elif not stat.S_ISDIR(found.st_mode):
                        raise InvalidInput.of("uri", f"holds {path!r}, which is a link or a device")

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes; raise Unavailable where it went meanwhile."""
        with self._file(name) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def read(self, names: Sequence[str], sizes: Sequence[int]) -> list[bytes]:
        """Return so many first bytes of each of some files; raise Unavailable where one went meanwhile."""
        return [self._read(*each) for each in zip(names, sizes, strict=True)]

    def _read(self, name: str, size: int) -> bytes:
        with self._file(name) as file:
            return file.read(size)

    @contextmanager
    def _file(self, name: str) -> Iterator[IO[bytes]]:
        with self._opened(name) as descriptor:
            if descriptor is None:
                raise Unavailable(f"{self._folder / name} was there a moment ago: try again")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield file

    @contextmanager
    def _opened(self, name: str) -> Iterator[int | None]:
        """Open a file or a folder without following a link below the root, or waiting for a pipe; None without one."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        here: int | None
        with ExitStack() as opened:
            try:
                here = os.open(self._folder, flags)
                opened.callback(os.close, here)
                for part in filter(None, name.split("/")):
                    here = os.open(part, flags | os.O_NOFOLLOW, dir_fd=here)
                    opened.callback(os.close, here)
            except OSError as error:
                if error.errno not in _NOT_THERE:
                    raise Unavailable(f"{self._folder / name} cannot be opened: {error.strerror}") from error
                here = None
            yield here
