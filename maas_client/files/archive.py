"""A folder or an archive file as chunks of bytes, read while they are sent."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from maas_client.files.folders import FoundFile, LeftOut, files_below, reason_of

CHUNK_BYTES = 1024 * 1024
_QUEUED_CHUNKS = 8
# A file up to this size is read before its header is written: where it is cut meanwhile, it costs itself alone.
_READ_WHOLE_BYTES = 8 * CHUNK_BYTES


class Contents:
    """What a folder, or an archive file, holds for an upload; equal files make equal bytes each time it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: list[FoundFile] = []
        self._not_found: list[LeftOut] = []
        self._not_read: list[LeftOut] = []
        if path.is_dir():
            for each in files_below(path):
                if isinstance(each, FoundFile):
                    self._files.append(each)
                else:
                    self._not_found.append(each)

    @property
    def left_out(self) -> list[LeftOut]:
        """Return what cannot be read, as far as is known: the list grows while the contents are read."""
        return self._not_found + self._not_read

    @property
    def fingerprint(self) -> str:
        """Return a digest of the path, and of the names, sizes and times of all files: it changes where they do."""
        hasher = hashlib.sha256(os.fsencode(self.path.resolve()))
        status = self.path.stat()
        listed = [(each.name, each.size, each.modified_ns) for each in self._files]
        for each in listed or [("", status.st_size, status.st_mtime_ns)]:
            hasher.update(repr(each).encode())
        return hasher.hexdigest()

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Hold these contents until the block ends; say whether no other upload of this machine holds them.

        False, too, where the file system has no locks for what may only be read, as on Windows.
        """
        if sys.platform == "win32":
            yield False
            return
        import fcntl

        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    @property
    def num_bytes(self) -> int:
        """Return about how many bytes there are to send."""
        return sum(each.size for each in self._files) if self.path.is_dir() else self.path.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """Yield a folder as a tar archive made on the way, or a file as it is; never more than a few MiB are held.

        A file of a folder that cannot be read is left out. Raises OSError for an archive that cannot be read, and for a
        large file that changes while it is.
        """
        self._not_read = []
        if self.path.is_dir():
            yield from self._tar()
            return
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _tar(self) -> Iterator[bytes]:
        pipe = _ChunkQueue()
        writer = threading.Thread(target=self._write_tar, args=(pipe,), daemon=True)
        writer.start()
        try:
            yield from pipe.chunks()
        finally:
            pipe.abandon()
            writer.join()

    def _write_tar(self, pipe: _ChunkQueue) -> None:
        try:
            # typeshed asks for a whole binary file; a stream is only ever written to.
            with tarfile.open(mode="w|", fileobj=pipe, bufsize=CHUNK_BYTES) as archive:  # type: ignore[call-overload]
                for each in self._files:
                    self._add(archive, each)
        except OSError as error:
            pipe.fail(error)
        else:
            pipe.close()

    def _add(self, archive: tarfile.TarFile, found: FoundFile) -> None:
        """Write a file, under every name that it has: second names of one are no links in the archive."""
        info = tarfile.TarInfo(found.name)
        try:
            file = found.path.open("rb")
        except OSError as error:
            self._not_read.append(LeftOut(found.name, reason_of(error)))
            return
        with file:
            info.size = os.fstat(file.fileno()).st_size
            if info.size > _READ_WHOLE_BYTES:
                # The type stub asks for more of a file than is ever used.
                archive.addfile(info, cast("IO[bytes]", _WholeFile(file, found.path)))
                return
            try:
                data = file.read(_READ_WHOLE_BYTES)
            except OSError as error:
                self._not_read.append(LeftOut(found.name, reason_of(error)))
                return
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


class _WholeFile:
    """A file that must not end before it is read whole: its size is sent already."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self.path = path

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise OSError(f"{self.path} was cut while it was read: upload again when it is whole")
        return data


class _ChunkQueue:
    """What tarfile writes into on one thread and the sender reads from on another."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | OSError | None] = queue.Queue(_QUEUED_CHUNKS)
        self._abandoned = threading.Event()

    def write(self, data: bytes) -> int:
        self._put(bytes(data))
        if self._abandoned.is_set():
            raise OSError("the receiver has gone")
        return len(data)

    def close(self) -> None:
        self._put(None)

    def fail(self, error: OSError) -> None:
        self._put(error)

    def _put(self, item: bytes | OSError | None) -> None:
        """Wait for room; the receiver may go at any moment, which leaves none for ever."""
        while not self._abandoned.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return

    def abandon(self) -> None:
        self._abandoned.set()

    def chunks(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, OSError):
                raise item
            yield item
