"""Archives that are being uploaded: files that outlive a broken connection, bounded in bytes and time.

An upload is one file, `KEY.TOKEN`. The key is the digest of its name: no text of a client becomes a path, and no other
name leads to the file. The token belongs to the writing stream. A stream that resumes the upload renames the file,
under the lock that every write holds: the older stream then finds its name gone, and writes nothing more. No other
state is kept. The offset is the size of the file, and the bytes before it are verified against the client's digest,
even after a crash.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader, FileIO
from pathlib import Path

from filelock import FileLock

from model_store.blobs.files import full_disk_named
from model_store.errors import Conflict, IllegalState, InvalidInput, NotFound, StorageFull, StoreError, Unavailable

_BLOCK_BYTES = 1024 * 1024
ROOM_BYTES = 16 * 1024 * 1024
"""Bytes that a stream may write before it checks the free space again."""
# A small file counts as so much, so that the number of files is bounded, too.
_LEAST_BYTES = 1024 * 1024
_TOUCH_SECONDS = 5.0


class UploadNotFound(NotFound):
    """Nothing is kept of an upload."""


class UploadUnfinished(InvalidInput):
    """The stream has ended before the archive; a client that has gone looks the same."""


class UploadTaken(Conflict):
    """Another stream goes on with this upload."""


@dataclass(frozen=True)
class KeptUpload:
    """The received size of an upload, and the time until which it is kept."""

    size_bytes: int
    expires_at: datetime


class SpooledUpload:
    """An archive that arrives; one stream's, and not to be shared between threads."""

    def __init__(self, spool: UploadSpool, path: Path, file: FileIO) -> None:
        self._spool = spool
        self._path = path
        self._file = file
        self._hasher = hashlib.sha256()
        self._room_until = self._touched_at = 0.0
        self.size_bytes = 0
        self.content = BufferedReader(file)
        """Reads all bytes, once the last one is written."""

    @property
    def sha256(self) -> str:
        """The digest of all bytes so far."""
        return self._hasher.hexdigest()

    def go_on_from(self, offset: int, sha256: str, check_client: Callable[[], None]) -> None:
        """Verify the bytes before the offset, and cut off the bytes behind it; raise IllegalState if they differ."""
        self._file.seek(0)
        while self.size_bytes < offset:
            check_client()
            self.check_not_taken()
            block = self._file.read(min(_BLOCK_BYTES, offset - self.size_bytes))
            if not block:
                break
            self._hasher.update(block)
            self.size_bytes += len(block)
        if offset and (self.size_bytes, self.sha256) != (offset, sha256):
            raise IllegalState(
                f"the first {offset} bytes that arrived have another digest than yours: what is uploaded has changed, "
                "or was not kept whole; begin again with write_offset 0"
            )
        with self._alone():
            self._file.truncate(offset)
            self._file.seek(offset)

    def write(self, chunk: bytes) -> None:
        """Add these bytes; raise UploadTaken, and StorageFull where uploads may take no more room."""
        if self.size_bytes + len(chunk) > self._room_until:
            self._spool.make_room(self._path)
            self._room_until = self.size_bytes + max(len(chunk), ROOM_BYTES)
        with self._alone(), full_disk_named():
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
        self._hasher.update(chunk)
        self.size_bytes += len(chunk)

    def check_not_taken(self) -> None:
        """Raise UploadTaken where another stream goes on with this upload; else keep it from being the oldest one."""
        if not self._path.exists() and self._spool.has_other(self._path):
            raise _taken()
        if time.monotonic() > self._touched_at + _TOUCH_SECONDS:
            os.utime(self._file.fileno())
            self._touched_at = time.monotonic()

    def remove(self) -> None:
        """Keep nothing, unless it is another stream's by now."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep the bytes that arrived, if any."""
        if os.fstat(self._file.fileno()).st_size == 0:
            self.remove()
        self.content.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with _locked(self._file):
            if not self._path.exists():
                raise _taken()
            yield


class UploadSpool:
    """The uploads below one folder; safe for any number of threads and processes."""

    def __init__(self, folder: Path, *, max_bytes: int, idle_seconds: float, keep_seconds: float) -> None:
        """Take the size limit of all files (a stream may exceed it by 16 MiB), and the age limit of a file.

        When space is needed, files without a write for `idle_seconds` are removed, the oldest first.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._idle_seconds = idle_seconds
        self._keep_seconds = keep_seconds
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock")

    def kept(self, name: str) -> KeptUpload:
        """Return the state of an upload; raise UploadNotFound."""
        self.remove_old()
        with self._lock:
            status = self._file_of(upload_key(name)).stat()
        return KeptUpload(status.st_size, datetime.fromtimestamp(status.st_mtime + self._keep_seconds, UTC))

    @contextmanager
    def receiving(
        self, name: str, offset: int, sha256: str, check_client: Callable[[], None]
    ) -> Iterator[SpooledUpload]:
        """Give an upload to resume at an offset before which the bytes have this digest, or to begin at 0.

        If the block ends with UploadUnfinished, Unavailable, Conflict or an error that is not the store's, the bytes
        stay for the next stream of this name. A success or a refusal removes them, and so does the end of an upload
        without a name. Raises UploadNotFound or IllegalState if the upload cannot be resumed there.
        """
        key = upload_key(name or uuid.uuid4().hex)
        with closing(self._opened(key, offset)) as upload:
            try:
                upload.go_on_from(offset, sha256, check_client)
                with _refusals_removed(upload):
                    yield upload
            finally:
                if not name:
                    upload.remove()

    def remove_old(self) -> int:
        """Remove the uploads that were not resumed in time; return the number of files removed."""
        before = time.time() - self._keep_seconds
        with self._lock:
            old = [path for modified_at, _, path in self._files() if modified_at < before]
            for path in old:
                path.unlink(missing_ok=True)
        return len(old)

    def make_room(self, besides: Path) -> None:
        """Let a file grow by another 16 MiB; raise StorageFull where all files would have too much then."""
        idle_since = time.time() - self._idle_seconds
        with self._lock:
            files = sorted(self._files())
            excess = sum(size for _, size, _ in files) + ROOM_BYTES - self._max_bytes
            for modified_at, size, path in files:
                if excess > 0 and path != besides and modified_at < idle_since:
                    path.unlink(missing_ok=True)
                    excess -= size
        if excess > 0:
            raise StorageFull("uploads that are under way take all the room that they may: try again later")

    def has_other(self, path: Path) -> bool:
        """Say whether another stream has the upload of this file."""
        return any(each != path for each in self._folder.glob(f"{path.stem}.*"))

    def _opened(self, key: str, offset: int) -> SpooledUpload:
        """Open the file of an upload for this stream alone; create a missing file for an upload that begins."""
        self.remove_old()
        path = self._folder / f"{key}.{uuid.uuid4().hex}"
        with full_disk_named(), self._lock:
            try:
                old = self._file_of(key)
            except UploadNotFound:
                if offset:
                    raise
                return SpooledUpload(self, path, path.open("x+b", buffering=0))
            size = old.stat().st_size
            if size < offset:
                raise IllegalState(f"{size} bytes of this upload are here, not {offset}: go on from there")
            file = old.open("r+b", buffering=0)
            with _locked(file):
                old.rename(path)
                os.utime(file.fileno())
            return SpooledUpload(self, path, file)

    def _file_of(self, key: str) -> Path:
        path = next(self._folder.glob(f"{key}.*"), None)
        if path is None:
            raise UploadNotFound("nothing is here of this upload, or no longer: begin it with write_offset 0")
        return path

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield the time of the last write, the counted size and the path of each file."""
        for entry in os.scandir(self._folder):
            if "." in entry.name:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    yield status.st_mtime, max(status.st_size, _LEAST_BYTES), Path(entry.path)


def upload_key(name: str) -> str:
    """Return the key of an upload's file, from which its name cannot be derived."""
    return hashlib.sha256(name.encode()).hexdigest()


@contextmanager
def _refusals_removed(upload: SpooledUpload) -> Iterator[None]:
    try:
        yield
    except (Unavailable, Conflict, UploadUnfinished):
        raise
    except StoreError:
        upload.remove()
        raise
    upload.remove()


@contextmanager
def _locked(file: FileIO) -> Iterator[None]:
    """Hold a file against all others that do, in this process and in others."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _taken() -> UploadTaken:
    return UploadTaken("another stream goes on with this upload, or it was removed: this one has ended")
