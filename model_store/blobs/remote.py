"""Blobs in an object store or another remote file system: `sha256/ab/abcdef…` below a URL, read through a local cache.

A blob is written to a local file while it is hashed, then sent. The store shows it after all of it has arrived. The
copy in the store is authoritative: existence and size are asked there.

No object store can remove an object on the condition that it was not renewed. If a collector and a publisher meet in
this moment, the blob is gone; the publication is refused, because the collector has left a tombstone.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO, TypeVar

from model_store.blobs import (
    BlobStatus,
    BlobStore,
    BlobWriter,
    Memory,
    QuarantinedBlob,
    UnfinishedBlob,
    check_digest,
    checked,
    missing_blob,
    quarantine_name,
    quarantined_at,
)
from model_store.blobs.cache import BlobCache
from model_store.blobs.files import (
    digest_of,
    map_verified,
    read_verified,
    scratch_file,
    unfinished_file,
    unfinished_in,
)
from model_store.blobs.remote_files import RemoteFile, RemoteFolder
from model_store.errors import CorruptBlob
from model_store.manifests import DIGEST

T = TypeVar("T")
_NUM_THREADS = 16
_QUARANTINE = "quarantine"


class RemoteBlobs(BlobStore):
    """Blobs below one remote folder; every method with a request to it raises Unavailable without an answer."""

    def __init__(self, folder: RemoteFolder, cache: BlobCache) -> None:
        self._folder = folder
        self._cache = cache

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """Give a blob to write piece by piece."""
        with unfinished_file(self._cache.temporary) as file:
            yield BlobWriter(file, self._keep)

    def has(self, digest: str) -> bool:
        """Say whether the blob is stored."""
        return self._folder.status(_name(digest)) is not None

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes."""
        return self._status(digest).size_bytes

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return those of the digests that are not stored."""
        return [digest for digest, stored in _at_once(self.has, digests).items() if not stored]

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Return several blobs' sizes."""
        return _at_once(self.size, digests)

    def read_into(self, allocate: Callable[[int], Memory], digest: str) -> Memory:
        """Return the blob's bytes, verified."""
        return self._through_cache(digest, lambda file: read_verified(file, allocate, digest))

    def map(self, digest: str) -> mmap.mmap:
        """Map a large blob, verified."""
        return self._through_cache(digest, lambda file: map_verified(file, digest))

    def open(self, digest: str) -> IO[bytes]:
        """Open the blob's local copy, unverified."""
        return self._cache.open(digest) or self._fetched(digest)

    def verify(self, digest: str) -> None:
        """Read every byte of the remote copy."""
        found = self._folder.digest(_name(digest))
        if found is None:
            raise self._missing(digest)
        self._check(digest, found)

    def all(self) -> Iterator[BlobStatus]:
        """Yield every blob."""
        for file in self._folder.all("sha256"):
            if DIGEST.fullmatch(file.name):
                yield BlobStatus(file.name, file.size_bytes, file.put_at)

    def delete(self, digest: str, *, before: float) -> bool:
        """Remove a blob unless it was put at or after this time."""
        file = self._folder.status(_name(digest))
        if file is None or file.put_at >= before:
            return False
        self._folder.remove(_name(digest))
        self._cache.drop(digest)
        return True

    def unfinished(self) -> Iterator[UnfinishedBlob]:
        """Yield this machine's temporary files, and uploads of any machine."""
        yield from unfinished_in(self._cache.temporary)
        yield from self._folder.unfinished()

    def discard(self, unfinished: UnfinishedBlob) -> None:
        """Remove a temporary file, or the rest of an upload."""
        if unfinished.id.startswith(self._folder.url):
            self._folder.discard(unfinished)
        else:
            Path(unfinished.id).unlink(missing_ok=True)

    def quarantine(self, digest: str) -> str:
        """Move a blob to `quarantine/DIGEST-SECONDS`."""
        self._status(digest)
        aside = f"{_QUARANTINE}/{quarantine_name(digest)}"
        self._folder.move(_name(digest), aside)
        self._cache.drop(digest)
        return f"{self._folder.url}/{aside}"

    def quarantined(self) -> Iterator[QuarantinedBlob]:
        """Yield the remote files in `quarantine`."""
        for file in self._folder.all(_QUARANTINE):
            if (moved_at := quarantined_at(file.name)) is not None:
                yield QuarantinedBlob(f"{_QUARANTINE}/{file.name}", file.size_bytes, moved_at)

    def drop_quarantined(self, blob: QuarantinedBlob) -> None:
        """Remove a remote file in `quarantine`."""
        self._folder.remove(blob.id)

    def temporary_file(self) -> AbstractContextManager[IO[bytes]]:
        """Give a scratch file on the cache's disk."""
        return scratch_file(self._cache.temporary)

    def local_folder(self, name: str) -> Path:
        """Return a folder beside the local copies."""
        return self._cache.temporary.parent / name

    def _keep(self, file: IO[bytes], digest: str) -> bool:
        """Send a complete temporary file, which then is the cache's; say whether the blob is new."""
        name, path = _name(digest), Path(file.name)
        file.flush()
        stored = self._folder.status(name)
        is_new = stored is None or stored.size_bytes != os.fstat(file.fileno()).st_size
        if stored is None or is_new or not self._folder.renew(stored, name):
            self._folder.upload(path, name)
        self._cache.add(path, digest)
        return is_new

    def _through_cache(self, digest: str, use: Callable[[FileIO], T]) -> T:
        """Do something that verifies a blob; a cached copy that is damaged is fetched again."""
        if (cached := self._cache.open(digest)) is not None:
            with cached, suppress(CorruptBlob):
                return use(cached)
            self._cache.drop(digest)
        with self._fetched(digest) as file:
            return use(file)

    def _fetched(self, digest: str) -> FileIO:
        """Bring a blob into the cache and open it; if it does not fit, it is gone when it is closed."""
        with unfinished_file(self._cache.temporary) as scratch, ExitStack() as opened:
            path = Path(scratch.name)
            if not self._folder.download(_name(digest), path):
                raise self._missing(digest)
            file = opened.enter_context(path.open("rb", buffering=0))
            self._check(digest, digest_of(file))
            file.seek(0)
            self._cache.add(path, digest)
            opened.pop_all()
            return file

    def _status(self, digest: str) -> RemoteFile:
        file = self._folder.status(_name(digest))
        if file is None:
            raise self._missing(digest)
        return file

    def _check(self, digest: str, found: str) -> None:
        check_digest(digest, found, self._place(digest), first="move it away and ")

    def _missing(self, digest: str) -> Exception:
        return missing_blob(digest, self._place(digest))

    def _place(self, digest: str) -> str:
        return f"{self._folder.url}/{_name(digest)}"


def _at_once(ask: Callable[[str], T], digests: Iterable[str]) -> dict[str, T]:
    """Ask about many blobs: a store that answers slowly answers many at once."""
    wanted = list(dict.fromkeys(digests))
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        return dict(zip(wanted, threads.map(ask, wanted), strict=True))


def _name(digest: str) -> str:
    return f"sha256/{checked(digest)[:2]}/{digest}"
