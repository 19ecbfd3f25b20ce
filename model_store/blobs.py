"""Content-addressed blobs on a local disk: `sha256/ab/abcdef…` holds the bytes whose SHA-256 is `abcdef…`.

A blob is written to a temporary file while it is hashed, flushed to the disk, and only then renamed to its digest, so a
crash leaves a temporary file and never a torn blob. No caller's text ever becomes part of a path: digests are checked.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from model_store.errors import CorruptBlob, InvalidInput, MissingBlob, StorageFull
from model_store.manifests import DIGEST

Buffer = bytes | bytearray | memoryview
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class StoredBlob:
    """A blob that is now in the store; `added_bytes` is 0 where it was there before."""

    digest: str
    size_bytes: int
    added_bytes: int


class BlobWriter:
    """A blob on its way into the store, hashed as it is written."""

    def __init__(self, file: IO[bytes], keep: Callable[[IO[bytes], str], bool]) -> None:
        self._file, self._keep = file, keep
        self._hasher = hashlib.sha256()
        self._size = 0

    def write(self, chunk: Buffer) -> None:
        """Add these bytes."""
        self._hasher.update(chunk)
        self._file.write(chunk)
        self._size += memoryview(chunk).nbytes

    def commit(self, expected_digest: str | None = None) -> StoredBlob:
        """Make the blob durable under its digest; raise InvalidInput where that is not the expected one."""
        digest = self._hasher.hexdigest()
        if expected_digest is not None and digest != expected_digest:
            raise InvalidInput.of("digest", f"the bytes have digest {digest}, not {expected_digest}: send them again")
        return StoredBlob(digest, self._size, self._size if self._keep(self._file, digest) else 0)


class BlobStore:
    """Blobs below one folder; safe for any number of threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self._root = root / "sha256"
        self._temporary = root / "tmp"
        for folder in (self._root, self._temporary):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, chunks: Iterable[Buffer], expected_digest: str | None = None) -> StoredBlob:
        """Store these bytes under their digest; durable on return.

        Raises InvalidInput where the digest is not the expected one and StorageFull where the disk has no room;
        nothing is kept then.
        """
        with self.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit(expected_digest)

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """Give a blob to write piece by piece; without a commit nothing is kept. Raises StorageFull as `put` does."""
        with _full_disk_named(), self._unfinished_blob() as file:
            yield BlobWriter(file, self._keep)

    def has(self, digest: str) -> bool:
        """Say whether the blob is stored."""
        return self._path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Return the blob's file, unverified; raise MissingBlob where there is none."""
        path = self._path(digest)
        if not path.is_file():
            raise MissingBlob(
                f"blob {digest} is missing at {path}: restore it from a backup, or publish the model again"
            )
        return path

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes; raise MissingBlob where there is none."""
        return self.path(digest).stat().st_size

    def read(self, digest: str) -> bytes:
        """Return the blob's bytes, every one of them verified; raise MissingBlob or CorruptBlob."""
        path = self.path(digest)
        data = path.read_bytes()
        _check_digest(path, digest, hashlib.sha256(data).hexdigest())
        return data

    def verified_path(self, digest: str) -> Path:
        """Return a large blob's file after reading all of it; raise MissingBlob or CorruptBlob."""
        path = self.path(digest)
        _check_digest(path, digest, _digest_of(path))
        return path

    def all(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every blob's digest and file status, in no order; one that vanishes meanwhile is left out."""
        for folder in self._root.iterdir():
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    yield path.name, path.stat()

    def delete(self, digest: str, *, before: float) -> bool:
        """Remove a blob that was last put before this time (seconds since the epoch); say whether it was there."""
        path = self._path(digest)
        try:
            if path.stat().st_mtime >= before:
                return False
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def unfinished(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the temporary files of blobs that are being written, or whose writer has died."""
        for path in self._temporary.iterdir():
            with suppress(FileNotFoundError):
                yield path, path.stat()

    @contextmanager
    def temporary_file(self) -> Iterator[IO[bytes]]:
        """Give a scratch file on the store's disk that is gone afterwards, whatever happens."""
        with _full_disk_named(), tempfile.TemporaryFile(dir=self._temporary) as file:
            yield file

    def _path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise InvalidInput.of("digest", "must be 64 lower-case hexadecimal digits")
        return self._root / digest[:2] / digest

    @contextmanager
    def _unfinished_blob(self) -> Iterator[IO[bytes]]:
        with tempfile.NamedTemporaryFile(dir=self._temporary, delete=False) as file:
            try:
                yield file
            finally:
                with suppress(FileNotFoundError):  # renamed to its digest
                    Path(file.name).unlink()

    def _keep(self, file: IO[bytes], digest: str) -> bool:
        """Rename a complete temporary file to its digest; say whether the blob is new."""
        path = self._path(digest)
        # A damaged copy is replaced: publishing the same bytes again is how a blob is healed.
        if path.is_file() and _digest_of(path) == digest:
            path.touch()  # as young as a new one: the collector leaves it time to be named
            return False
        file.flush()
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
        path.parent.mkdir(exist_ok=True)
        Path(file.name).rename(path)
        _sync_folder(path.parent)
        _sync_folder(self._root)
        return True


def _check_digest(path: Path, digest: str, found: str) -> None:
    if found != digest:
        raise CorruptBlob(
            f"blob {digest} is corrupt: {path} has digest {found}; restore it from a backup, or publish the model again"
        )


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageFull("the blob store's disk is full: free some space, then try again") from error
