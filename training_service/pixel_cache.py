"""Decoded datasets on the disk, bounded in bytes: a dataset is decoded once, for all jobs and processes of this folder.

An entry is an `.npy` file, mapped read only. It is written under a temporary name, flushed and then renamed, so a crash
leaves a temporary file and never half an entry. Whoever writes or maps a file holds a shared lock on it, which the
system drops with the process: what nobody locks is not in use.
"""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import numpy as np
import PIL
from filelock import FileLock

from model_store.errors import StorageFull
from model_store.inputs import ImageInputSpec, Pixels
from training_service.scratch import allocate, mapped_array

Shape = tuple[int, int, int, int]


def pixel_key(digest: str, spec: ImageInputSpec) -> str:
    """Name the pixels of a dataset: what they depend on, so not the spec's mean and std, but who decoded them."""
    return f"{digest}-{spec.resize_size}-{spec.crop_size}-{spec.interpolation}-pillow-{PIL.__version__}"


class PixelCache:
    """A folder of decoded datasets; what was used least recently goes first, and nothing that is in use.

    Safe for several processes: two that miss the same entry both write it, and the one that is done last stays.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._entries, self._temporary = folder / "entries", folder / "tmp"
        self._max_bytes = max_bytes
        for each in (self._entries, self._temporary):
            each.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock")
        with self._lock:
            self._remove_abandoned()

    def load(self, key: str, shape: Shape, fill: Callable[[Pixels], None]) -> Pixels:
        """Return the entry, uint8 of this shape, read only; where there is none, `fill` writes it into zeros.

        What has no room within the bound is kept for as long as it is mapped. Raises StorageFull, and what `fill` does.
        """
        found = self._found(key, shape)
        return found if found is not None else self._filled(key, shape, fill)

    def _found(self, key: str, shape: Shape) -> Pixels | None:
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError:
            return None
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if not _is_whole(file, shape):
                return None  # it is replaced by what is decoded now
            os.utime(file.fileno())
            return _mapped(file, shape, "r")

    def _filled(self, key: str, shape: Shape, fill: Callable[[Pixels], None]) -> Pixels:
        size = len(_header(shape)) + int(np.prod(shape))
        with self._new_file(size) as file:
            if file is None:
                pixels = cast("Pixels", mapped_array(self._temporary, shape, np.uint8))
                fill(pixels)
                return pixels
            file.write(_header(shape))
            file.flush()
            written = _mapped(file, shape, "r+")
            fill(written)
            written.flush()  # type: ignore[attr-defined]  # a mapped array has it
            Path(file.name).rename(self._path(key))
            return _mapped(file, shape, "r")

    @contextmanager
    def _new_file(self, size: int) -> Iterator[IO[bytes] | None]:
        """Give a temporary file that has its space, locked; None where the bound leaves no room for it."""
        with self._lock:
            file = self._reserved(size) if self._make_room(size) else None
        if file is None:
            yield None
            return
        with file:
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)

    def _reserved(self, size: int) -> IO[bytes]:
        file = tempfile.NamedTemporaryFile(dir=self._temporary, delete=False)  # noqa: SIM115  its caller closes it
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            self._allocate(cast("IO[bytes]", file), size)
        except BaseException:
            Path(file.name).unlink()
            file.close()
            raise
        return cast("IO[bytes]", file)

    def _allocate(self, file: IO[bytes], size: int) -> None:
        """Take the space at once; a full disk costs entries that nobody uses before it fails."""
        while True:
            try:
                allocate(file, size, self._temporary)
            except StorageFull:
                if not self._drop_oldest():
                    raise
            else:
                return

    def _make_room(self, size: int) -> bool:
        """Remove entries until so many more bytes are within the bound; say whether they are."""
        while self._num_bytes() + size > self._max_bytes:
            if size > self._max_bytes or not self._drop_oldest():
                return False
        return True

    def _drop_oldest(self) -> bool:
        """Remove the entry that was used least recently; say whether there was one that is not in use."""
        by_age = sorted((path.stat().st_mtime_ns, path) for path in self._entries.iterdir())
        return any(_removed(path) for _, path in by_age)

    def _num_bytes(self) -> int:
        """Add up entries and files on their way; what has just been renamed or removed counts as nothing."""
        total = 0
        for folder in (self._entries, self._temporary):
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    total += path.stat().st_size
        return total

    def _remove_abandoned(self) -> None:
        for path in self._temporary.iterdir():
            _removed(path)

    def _path(self, key: str) -> Path:
        return self._entries / f"{key}.npy"


def _removed(path: Path) -> bool:
    """Remove a file unless somebody has it locked; say whether it is gone now."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass  # its writer has renamed or removed it
    return True


def _header(shape: Shape) -> bytes:
    """Return the first bytes of an `.npy` file of uint8."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _is_whole(file: IO[bytes], shape: Shape) -> bool:
    header = _header(shape)
    return file.read(len(header)) == header and os.fstat(file.fileno()).st_size == len(header) + int(np.prod(shape))


def _mapped(file: IO[bytes], shape: Shape, mode: str) -> Pixels:
    """Map the rows; the mapping keeps a copy of the descriptor, and with it the lock, until it is gone."""
    pixels: Pixels = np.memmap(file, np.uint8, mode, len(_header(shape)), shape)  # type: ignore[call-overload]
    return pixels
