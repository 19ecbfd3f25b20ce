"""Blobs as local files: read and verified in one pass, written to a temporary name first, full disks named."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO

from model_store.blobs import CHUNK_BYTES, Memory, UnfinishedBlob, check_digest
from model_store.errors import CorruptBlob, InvalidInput, StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read_verified(file: FileIO, allocate: Callable[[int], Memory], digest: str) -> Memory:
    """Return an unbuffered file's bytes, hashed as they are read; raise CorruptBlob."""
    memory, hasher, filled = allocate(os.fstat(file.fileno()).st_size), hashlib.sha256(), 0
    with memoryview(memory) as view, _failing_disk_named(file, digest):
        while count := file.readinto(view[filled : filled + CHUNK_BYTES]):
            hasher.update(view[filled : filled + count])
            filled += count
    check_digest(digest, hasher.hexdigest(), file.name)
    return memory


def map_verified(file: FileIO, digest: str) -> mmap.mmap:
    """Map all of a file after reading it; raise CorruptBlob, or InvalidInput for an empty blob."""
    verify_file(file, digest)
    if os.fstat(file.fileno()).st_size == 0:
        raise InvalidInput.of("digest", f"{digest} names the empty blob, which holds nothing to map")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def verify_file(file: FileIO, digest: str) -> None:
    """Read all of a file; raise CorruptBlob."""
    with _failing_disk_named(file, digest):
        found = digest_of(file)
    check_digest(digest, found, file.name)


def digest_of(file: FileIO) -> str:
    """Return the SHA-256 of a file from here on."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failing_disk_named(file: FileIO, digest: str) -> Iterator[None]:
    """Raise CorruptBlob for a read error of the disk."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        text = f"blob {digest} is corrupt: the disk cannot read it; check the disk, then restore it from a backup"
        raise CorruptBlob(text, detail=str(file.name)) from error


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Raise StorageFull where the system says that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageFull("the blob store's disk is full: free some space, then try again") from error


@contextmanager
def unfinished_file(folder: Path) -> Iterator[IO[bytes]]:
    """Give a new file in this folder, which is removed afterwards unless it was renamed."""
    with full_disk_named(), tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


@contextmanager
def scratch_file(folder: Path) -> Iterator[IO[bytes]]:
    """Give a file in this folder without a name; it is gone afterwards in every case."""
    with full_disk_named(), tempfile.TemporaryFile(dir=folder) as file:
        yield file


def unfinished_in(folder: Path) -> Iterator[UnfinishedBlob]:
    """Yield the files that writers have in this folder."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            status = path.stat()
            yield UnfinishedBlob(str(path), status.st_size, status.st_mtime)
