"""Large arrays on the disk, bounded in bytes, shared by all jobs and processes that use the folder.

An entry is an `.npy` file, mapped read only. It is written under a temporary name, flushed and then renamed, so a crash
leaves a temporary file and never half an entry. A process that writes or maps a file holds a shared lock on it, which
the system drops with the process: a file without a lock is not in use.
"""

from __future__ import annotations

import fcntl
import io
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray

from model_store.errors import StorageFull
from training_service.arrays.scratch import allocate, mapped_array

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Form:
    """How an entry's file is laid out."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def header(self) -> bytes:
        """The first bytes of an `.npy` file with this array."""
        header = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, described)
        return header.getvalue()

    @property
    def num_bytes(self) -> int:
        return len(self.header) + math.prod(self.shape) * self.dtype.itemsize

    def is_whole(self, file: IO[bytes]) -> bool:
        return file.read(len(self.header)) == self.header and os.fstat(file.fileno()).st_size == self.num_bytes

    def mapped(self, file: IO[bytes], mode: str) -> Array:
        """Map the rows; the mapping keeps a copy of the descriptor, and with it the lock, until it is gone."""
        array: Array = np.memmap(file, self.dtype, mode, len(self.header), self.shape)  # type: ignore[call-overload]
        return array


class ArrayCache:
    """A folder of arrays; the least recently used are removed first, and none that is in use.

    Safe for several processes: two that miss the same entry both write it, and the later one stays.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._entries, self._temporary = folder / "entries", folder / "tmp"
        self._max_bytes = max_bytes
        for each in (self._entries, self._temporary):
            each.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock")
        with self._lock:
            self._remove_abandoned()

    def load(self, key: str, shape: Shape, dtype: DTypeLike, fill: Callable[[Array], None]) -> Array:
        """Return the entry of this shape, read only; for a missing one, `fill` writes it into zeros.

        An entry beyond the bound is kept for as long as it is mapped. Raises StorageFull, and the errors of `fill`.
        """
        form = _Form(shape, np.dtype(dtype))
        found = self._found(key, form)
        return found if found is not None else self._filled(key, form, fill)

    def _found(self, key: str, form: _Form) -> Array | None:
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError:
            return None
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if not form.is_whole(file):
                return None  # the new entry replaces it
            os.utime(file.fileno())
            return form.mapped(file, "r")

    def _filled(self, key: str, form: _Form, fill: Callable[[Array], None]) -> Array:
        with self._new_file(form.num_bytes) as file:
            if file is None:
                array = mapped_array(self._temporary, form.shape, form.dtype)
                fill(array)
                return array
            file.write(form.header)
            file.flush()
            written = form.mapped(file, "r+")
            fill(written)
            written.flush()  # type: ignore[attr-defined]  # a mapped array has it
            Path(file.name).rename(self._path(key))
            return form.mapped(file, "r")

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
        """Allocate the space at once; on a full disk, remove unused entries before failing."""
        while True:
            try:
                allocate(file, size, self._temporary)
            except StorageFull:
                if not self._drop_oldest():
                    raise
            else:
                return

    def _make_room(self, size: int) -> bool:
        """Remove entries until this number of further bytes is within the bound; say whether it is."""
        while self._num_bytes() + size > self._max_bytes:
            if size > self._max_bytes or not self._drop_oldest():
                return False
        return True

    def _drop_oldest(self) -> bool:
        """Remove the least recently used entry that is not in use; say whether there was one."""
        by_age = sorted((path.stat().st_mtime_ns, path) for path in self._entries.iterdir())
        return any(_removed(path) for _, path in by_age)

    def _num_bytes(self) -> int:
        """Add up entries and temporary files; a file that was just renamed or removed counts as nothing."""
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
    """Remove a file unless it is locked; say whether it is gone now."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass  # its writer has renamed or removed it
    return True
