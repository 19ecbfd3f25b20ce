"""Blobs on a local disk: `sha256/ab/abcdef…` holds the bytes whose SHA-256 is `abcdef…`.

A blob is written to a temporary file while it is hashed, flushed to the disk, and only then renamed to its digest, so a
crash leaves a temporary file and never a torn blob.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO

from model_store.blobs import (
    BlobStatus,
    BlobStore,
    BlobWriter,
    Memory,
    QuarantinedBlob,
    UnfinishedBlob,
    checked,
    missing_blob,
    quarantine_name,
    quarantined_at,
)
from model_store.blobs.files import (
    map_verified,
    read_verified,
    scratch_file,
    sync_folder,
    unfinished_file,
    unfinished_in,
    verify_file,
)
from model_store.manifests import DIGEST


class LocalBlobs(BlobStore):
    """Blobs below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root / "sha256"
        self._temporary = root / "tmp"
        self._quarantine = root / "quarantine"
        for folder in (self._root, self._temporary):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """Give a blob to write piece by piece."""
        with unfinished_file(self._temporary) as file:
            yield BlobWriter(file, self._keep)

    def has(self, digest: str) -> bool:
        """Say whether the blob is stored."""
        return self._path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Return the blob's file, unverified; raise MissingBlob if it does not exist."""
        path = self._path(digest)
        if not path.is_file():
            raise missing_blob(digest, path)
        return path

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes."""
        with self._missing_named(digest):
            return self._path(digest).stat().st_size

    def read_into(self, allocate: Callable[[int], Memory], digest: str) -> Memory:
        """Return the blob's bytes, verified."""
        with self._opened(digest) as file:
            return read_verified(file, allocate, digest)

    def map(self, digest: str) -> mmap.mmap:
        """Map a large blob, verified."""
        with self._opened(digest) as file:
            return map_verified(file, digest)

    def open(self, digest: str) -> IO[bytes]:
        """Open the blob, unverified."""
        return self._opened(digest)

    def verify(self, digest: str) -> None:
        """Read every byte."""
        with self._opened(digest) as file:
            verify_file(file, digest)

    def all(self) -> Iterator[BlobStatus]:
        """Yield every blob."""
        for folder in self._root.iterdir():
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    status = path.stat()
                    if DIGEST.fullmatch(path.name):
                        yield BlobStatus(path.name, status.st_size, status.st_mtime)

    def delete(self, digest: str, *, before: float) -> bool:
        """Remove a blob unless it was put at or after this time.

        It is moved aside before its time counts: who makes it young again before that is seen, and who comes later
        finds no blob (`_renewed`) and writes one.
        """
        path, aside = self._path(digest), self._temporary / f"{digest}-{uuid.uuid4().hex}"
        try:
            if path.stat().st_mtime >= before:
                return False
            path.rename(aside)
            if aside.stat().st_mtime < before:
                aside.unlink()
                return True
            aside.rename(path)  # replaces a copy of another writer: the same bytes, as young
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        return False

    def unfinished(self) -> Iterator[UnfinishedBlob]:
        """Yield the temporary files."""
        return unfinished_in(self._temporary)

    def discard(self, unfinished: UnfinishedBlob) -> None:
        """Remove a temporary file."""
        Path(unfinished.id).unlink(missing_ok=True)

    def quarantine(self, digest: str) -> str:
        """Move a blob to `quarantine/DIGEST-SECONDS`."""
        path, aside = self._path(digest), self._quarantine / quarantine_name(digest)
        self._quarantine.mkdir(exist_ok=True)
        with self._missing_named(digest):
            path.rename(aside)
        for folder in (self._quarantine, path.parent):
            sync_folder(folder)
        return str(aside)

    def quarantined(self) -> Iterator[QuarantinedBlob]:
        """Yield the files in `quarantine`."""
        for path in self._quarantine.iterdir() if self._quarantine.is_dir() else ():
            if (moved_at := quarantined_at(path.name)) is not None:
                with suppress(FileNotFoundError):
                    yield QuarantinedBlob(str(path), path.stat().st_size, moved_at)

    def drop_quarantined(self, blob: QuarantinedBlob) -> None:
        """Remove a file in `quarantine`."""
        Path(blob.id).unlink(missing_ok=True)

    def temporary_file(self) -> AbstractContextManager[IO[bytes]]:
        """Give a scratch file on the store's disk."""
        return scratch_file(self._temporary)

    def local_folder(self, name: str) -> Path:
        """Return a folder beside the blobs."""
        return self._root.parent / name

    def _path(self, digest: str) -> Path:
        return self._root / checked(digest)[:2] / digest

    def _opened(self, digest: str) -> FileIO:
        with self._missing_named(digest):
            return self._path(digest).open("rb", buffering=0)

    @contextmanager
    def _missing_named(self, digest: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise missing_blob(digest, self._path(digest)) from error

    def _keep(self, file: IO[bytes], digest: str) -> bool:
        """Rename a complete temporary file to its digest; say whether the blob is new."""
        path = self._path(digest)
        # A damaged copy is replaced: publishing the same bytes again is how a blob is healed.
        if _renewed(path, digest):
            return False
        file.flush()
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
        path.parent.mkdir(exist_ok=True)
        Path(file.name).rename(path)
        sync_folder(path.parent)
        sync_folder(self._root)
        return True


def _renewed(path: Path, digest: str) -> bool:
    """Make a whole copy as young as a new one; say whether it was there, and stays for a collector's grace period."""
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return False
            os.utime(file.fileno())
            # A collector may have removed it before the time was set: only a file at its place counts.
            return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
