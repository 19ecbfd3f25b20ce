"""Large arrays of one job on the disk instead of in memory, gone with the process however it ends."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model_store.errors import StorageFull


def mapped_array(folder: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
    """Return a writable array of zeros in a file without a name; raise StorageFull where the disk has no room."""
    folder.mkdir(parents=True, exist_ok=True)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile(dir=folder) as file:
        allocate(file, size, folder)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def stacked(folder: Path, num_rows: int, parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return this number of rows as one mapped array, written part by part; raise ValueError for no rows."""
    rows: NDArray[Any] | None = None
    start = 0
    for part in parts:
        if rows is None:
            rows = mapped_array(folder, (num_rows, *part.shape[1:]), np.float32)
        rows[start : start + len(part)] = part
        start += len(part)
    if rows is None or start != num_rows:
        raise ValueError(f"there are {start} rows and not {num_rows}")
    return rows


def allocate(file: IO[bytes], size: int, folder: Path) -> None:
    """Give a file this number of zero bytes; raise StorageFull, naming the folder, if the disk has no room.

    The space is allocated at once: a disk that fills up while pages are written would kill the process.
    """
    try:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StorageFull(f"{folder} has no room for {size} bytes of scratch: free some space") from error
