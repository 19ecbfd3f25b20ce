"""A folder or an archive file as chunks of bytes, read while they are sent."""

from __future__ import annotations

import queue
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1024 * 1024
_QUEUED_CHUNKS = 8


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield a folder as a tar archive made on the way, or a file as it is; never more than a few MiB are held."""
    if path.is_dir():
        yield from _tar_of(path)
        return
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _tar_of(folder: Path) -> Iterator[bytes]:
    pipe = _ChunkQueue()
    writer = threading.Thread(target=_write_tar, args=(folder, pipe), daemon=True)
    writer.start()
    try:
        yield from pipe.chunks()
    finally:
        pipe.abandon()
        writer.join()


def _write_tar(folder: Path, pipe: _ChunkQueue) -> None:
    try:
        # typeshed asks for a whole binary file; a stream is only ever written to.
        with tarfile.open(mode="w|", fileobj=pipe, bufsize=CHUNK_BYTES) as archive:  # type: ignore[call-overload]
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.add(path.resolve(), arcname=str(path.relative_to(folder)), recursive=False)
    except OSError as error:
        pipe.fail(error)
    else:
        pipe.close()


class _ChunkQueue:
    """What tarfile writes into on one thread and the sender reads from on another."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | OSError | None] = queue.Queue(_QUEUED_CHUNKS)
        self._abandoned = threading.Event()

    def write(self, data: bytes) -> int:
        while not self._abandoned.is_set():
            try:
                self._queue.put(bytes(data), timeout=0.1)
            except queue.Full:
                continue
            return len(data)
        raise OSError("the receiver has gone")

    def close(self) -> None:
        self._queue.put(None)

    def fail(self, error: OSError) -> None:
        if not self._abandoned.is_set():
            self._queue.put(error)

    def abandon(self) -> None:
        self._abandoned.set()

    def chunks(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, OSError):
                raise item
            yield item
