"""A folder of this machine that datasets may be read from; no link leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from model_store.errors import InvalidInput, Unavailable
from model_store.texts import quoted

_CHUNK_BYTES = 1024 * 1024
_NO_FILE = "names {!r}, which is neither a file nor a folder"
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class LocalRoot:
    """Files below one folder, opened name by name from it: replacing a folder by a link does not lead out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, name: str) -> int | None:
        """Return the size of a file; None for an unknown name, or a link on the way.

        Raises InvalidInput for anything but a file or a folder.
        """
        with self._opened(name) as descriptor:
            found = os.fstat(descriptor) if descriptor is not None else None
        if found is not None and not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise InvalidInput.of("uri", _NO_FILE.format(name))
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None

    def sizes_below(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield path, below the folder of this name, and size of each file.

        Raises InvalidInput for a link, a device or a folder that may not be read, and Unavailable where one went
        meanwhile.
        """
        with self._opened(name) as descriptor:
            if descriptor is None:
                return
            for folder, folders, files, here in _folders_below(descriptor):
                for each in files + folders:
                    path = f"{folder}/{each}".removeprefix("./")
                    with _read_errors(path):
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
        """Return the first bytes of each of some files; raise Unavailable if one has gone meanwhile."""
        return [self._read(*each) for each in zip(names, sizes, strict=True)]

    def _read(self, name: str, size: int) -> bytes:
        with self._file(name) as file:
            return file.read(size)

    @contextmanager
    def _file(self, name: str) -> Iterator[IO[bytes]]:
        with self._opened(name) as descriptor:
            if descriptor is None:
                raise Unavailable(f"{quoted(name)} was there a moment ago: try again", detail=str(self._folder / name))
            try:
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    yield file
            except OSError as error:
                raise _unreadable(name, self._folder / name, error) from error

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
            except PermissionError as error:
                raise InvalidInput.of("uri", f"names {name!r}, which the service may not read") from error
            except OSError as error:
                if error.errno == errno.ENXIO:
                    raise InvalidInput.of("uri", _NO_FILE.format(name)) from error
                if error.errno not in _NOT_THERE:
                    raise _unreadable(name, self._folder / name, error) from error
                here = None
            yield here


def _folders_below(descriptor: int) -> Iterator[tuple[str, list[str], list[str], int]]:
    """Walk a folder; raise where one cannot be read, which the library passes over."""

    def fail(error: OSError) -> None:
        with _read_errors(str(error.filename)):
            raise error

    yield from os.fwalk(".", dir_fd=descriptor, follow_symlinks=False, onerror=fail)


@contextmanager
def _read_errors(path: str) -> Iterator[None]:
    """Raise InvalidInput for a forbidden file, Unavailable for a file that has gone or cannot be read."""
    try:
        yield
    except PermissionError as error:
        raise InvalidInput.of("uri", f"holds {path!r}, which the service may not read") from error
    except OSError as error:
        raise Unavailable(f"{quoted(path)} cannot be read now: try again", detail=str(error.strerror)) from error


def _unreadable(name: str, file: Path, error: OSError) -> Unavailable:
    text = f"{quoted(name)} cannot be opened or read: the service's log tells its operator why"
    return Unavailable(text, detail=f"{file}: {error.strerror}")
