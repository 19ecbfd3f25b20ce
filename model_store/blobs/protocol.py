"""The protocol of a blob store: bytes named by their SHA-256, written once, verified at each read.

`LocalBlobs` keeps them below a folder, `RemoteBlobs` in an object store. No text of a caller becomes part of a path:
digests are checked.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar

from model_store.errors import CorruptBlob, InvalidInput, MissingBlob
from model_store.manifests import DIGEST

CHUNK_BYTES = 1024 * 1024
"""Bytes that stay in the processor's cache between being copied and being hashed."""
_WRITE_BACK_BYTES = 4 * CHUNK_BYTES

Buffer = bytes | bytearray | memoryview
Memory = TypeVar("Memory", bound=bytearray | mmap.mmap)


@dataclass(frozen=True)
class StoredBlob:
    """A blob that is now in the store; `added_bytes` is 0 where it was there before."""

    digest: str
    size_bytes: int
    added_bytes: int


@dataclass(frozen=True)
class BlobStatus:
    """A stored blob, and when it was last put (seconds since the epoch)."""

    digest: str
    size_bytes: int
    put_at: float


@dataclass(frozen=True)
class UnfinishedBlob:
    """A file that a writer is writing, or left when it died; `id` is its place, in the words of its store."""

    id: str
    size_bytes: int
    started_at: float


@dataclass(frozen=True)
class QuarantinedBlob:
    """A damaged blob that was moved aside, and when; `id` says where, in its store's own words."""

    id: str
    size_bytes: int
    moved_at: float


class BlobWriter:
    """A blob that is being written, hashed at the same time."""

    def __init__(self, file: IO[bytes], keep: Callable[[IO[bytes], str], bool]) -> None:
        self._file, self._keep = file, keep
        self._hasher = hashlib.sha256()
        self._size = self._written_back = 0

    def write(self, chunk: Buffer) -> None:
        """Add these bytes."""
        view = memoryview(chunk).cast("B")
        for start in range(0, len(view), CHUNK_BYTES):
            part = view[start : start + CHUNK_BYTES]
            self._hasher.update(part)
            self._file.write(part)
            self._size += len(part)
            self._start_writing_back()

    def _start_writing_back(self) -> None:
        """Let the disk begin while hashing goes on, or the flush at the end waits for every byte."""
        pending = self._size - self._written_back
        if pending >= _WRITE_BACK_BYTES and sys.platform == "linux":
            # The name says "not needed in memory"; Linux also starts to write dirty pages to the disk.
            os.posix_fadvise(self._file.fileno(), self._written_back, pending, os.POSIX_FADV_DONTNEED)
            self._written_back = self._size

    def commit(self, expected_digest: str | None = None) -> StoredBlob:
        """Make the blob durable under its digest; raise InvalidInput where that is not the expected one."""
        digest = self._hasher.hexdigest()
        if expected_digest is not None and digest != expected_digest:
            raise InvalidInput.of("digest", f"the bytes have digest {digest}, not {expected_digest}: send them again")
        return StoredBlob(digest, self._size, self._size if self._keep(self._file, digest) else 0)


class BlobStore(Protocol):
    """Blobs by digest; safe for concurrent threads and processes.

    Every method with a digest raises InvalidInput for a malformed one.
    """

    def put(self, chunks: Iterable[Buffer], expected_digest: str | None = None) -> StoredBlob:
        """Store these bytes under their digest; durable on return, and young for `delete` even if they were there.

        Raises InvalidInput where the digest is not the expected one and StorageFull where the disk has no room;
        nothing is kept then.
        """
        with self.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit(expected_digest)

    def writer(self) -> AbstractContextManager[BlobWriter]:
        """Give a blob to write piece by piece; without a commit nothing is kept. Raises StorageFull as `put` does."""

    def has(self, digest: str) -> bool:
        """Say whether the blob is stored."""

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return those of the digests that are not stored, in their order."""
        return [digest for digest in digests if not self.has(digest)]

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes; raise MissingBlob if it does not exist."""

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Return several blobs' sizes in bytes; raise MissingBlob where one is missing."""
        return {digest: self.size(digest) for digest in digests}

    def read(self, digest: str) -> bytearray:
        """Return the blob's bytes, every one of them verified; raise MissingBlob or CorruptBlob."""
        return self.read_into(bytearray, digest)

    def read_into(self, allocate: Callable[[int], Memory], digest: str) -> Memory:
        """Return memory of the blob's size that `allocate` gave, filled with its bytes as by `read`."""

    def map(self, digest: str) -> mmap.mmap:
        """Map a large blob, read only, after verifying it.

        Raises MissingBlob, CorruptBlob, or InvalidInput for the empty blob, which has nothing to map.
        """

    def open(self, digest: str) -> IO[bytes]:
        """Open the blob to pass its bytes on to a receiver that verifies them; raise MissingBlob."""

    def verify(self, digest: str) -> None:
        """Read every byte of the stored copy itself, not of a cache; raise MissingBlob or CorruptBlob."""

    def all(self) -> Iterator[BlobStatus]:
        """Yield every blob, in no order; a blob that vanishes meanwhile is left out."""

    def delete(self, digest: str, *, before: float) -> bool:
        """Remove a blob unless it was put at or after this time (seconds since the epoch); say whether it is gone.

        A blob that is put at the same moment either stays, or its writer writes it again.
        """

    def unfinished(self) -> Iterator[UnfinishedBlob]:
        """Yield files that are being written, and files of writers that died."""

    def discard(self, unfinished: UnfinishedBlob) -> None:
        """Remove the file of a writer; no effect if it is gone already."""

    def quarantine(self, digest: str) -> str:
        """Move the stored copy into quarantine, and return its new place; raise MissingBlob."""

    def quarantined(self) -> Iterator[QuarantinedBlob]:
        """Yield the quarantined copies that still exist."""

    def drop_quarantined(self, blob: QuarantinedBlob) -> None:
        """Remove a quarantined copy for good; no effect if it is gone already."""

    def temporary_file(self) -> AbstractContextManager[IO[bytes]]:
        """Give a local scratch file; it is gone afterwards in every case."""

    def local_folder(self, name: str) -> Path:
        """Return where files of another kind may lie: on the disk of a local store, else on that of the cache."""


def quarantine_name(digest: str) -> str:
    """Return the name of a blob in quarantine, which contains the time of the move."""
    return f"{digest}-{time.time():.0f}"


def quarantined_at(name: str) -> float | None:
    """Return when the blob of this name in quarantine was moved there; None for another name."""
    digest, _, seconds = name.partition("-")
    return float(seconds) if DIGEST.fullmatch(digest) and seconds.isdecimal() else None


def checked(digest: str) -> str:
    """Return a text that is a digest; raise InvalidInput for any other."""
    if not DIGEST.fullmatch(digest):
        raise InvalidInput.of("digest", "must be 64 lower-case hexadecimal digits")
    return digest


def missing_blob(digest: str, place: object) -> MissingBlob:
    """Build the error for a blob that is not at its place."""
    text = f"blob {digest} is missing: restore it from a backup, or publish the model again"
    return MissingBlob(text, detail=f"it should be {place}")


def check_digest(digest: str, found: str, place: object, *, first: str = "") -> None:
    """Raise CorruptBlob, with advice, unless the bytes have this digest."""
    if found != digest:
        remedy = f"restore it from a backup, or {first}publish the model again"
        raise CorruptBlob(f"blob {digest} is corrupt: {remedy}", detail=f"{place} has digest {found}")
