"""Files below a URL of any file system of fsspec; its errors become Unavailable, with advice.

The connection is opened at the first use and belongs to its process: libraries such as s3fs work in a thread, which a
fork does not copy. Start processes afresh, as the training service starts its workers.
"""

from __future__ import annotations

import errno
import hashlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from model_store.blobs import UnfinishedBlob
from model_store.errors import InvalidInput, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNFINISHED = "unfinished"
_CHUNK_BYTES = 8 * 1024 * 1024
_TIMES = ("LastModified", "mtime", "last_modified", "updated", "modified", "created")
"""The keys under which file systems return the time of a file's last change."""


@dataclass(frozen=True)
class RemoteFile:
    """A file's last name, its size, and when it was last written (seconds since the epoch)."""

    name: str
    size_bytes: int
    put_at: float


class RemoteFolder:
    """Files of a file system that has folders and renames; a file appears under its name when it is complete."""

    errors: tuple[type[Exception], ...] = (OSError,)
    """The exceptions of a file system that cannot do its work."""
    advice = "that it runs and can be reached"

    def __init__(self, url: str) -> None:
        """Raise InvalidInput for a URL that nothing installed here can open."""
        scheme, separator, path = url.partition("://")
        self.url = scheme + separator + path.rstrip("/")
        try:
            fsspec.get_filesystem_class(scheme)
        except (ImportError, ValueError) as error:
            raise InvalidInput.of("blobs_url", f"{url} cannot be opened here: {self._remedy(error)}") from error
        self._lock = threading.Lock()
        self._opened: tuple[Any, str] | None = None

    def status(self, name: str) -> RemoteFile | None:
        """Return the entry of a file; None if it does not exist."""
        with self._answering() as (files, root), suppress(FileNotFoundError):
            return _remote_file(files.info(f"{root}/{name}"))
        return None

    def all(self, folder: str) -> Iterator[RemoteFile]:
        """Yield the files at any depth below a folder."""
        with self._answering() as (files, root), suppress(FileNotFoundError):
            yield from map(_remote_file, files.find(f"{root}/{folder}", detail=True).values())

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it does not exist."""
        with self._answering() as (files, root), suppress(FileNotFoundError):
            info = files.info(f"{root}/{name}".rstrip("/"))
            return int(info["size"]) if info["type"] == "file" else None
        return None

    def sizes_below(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield path (below the folder of this name) and size of each file at any depth; skip other entries."""
        with self._answering() as (files, root), suppress(FileNotFoundError):
            above = f"{root}/{name}".rstrip("/") + "/"
            for path, info in files.find(above, detail=True).items():
                if path.startswith(above) and path != above:
                    yield path.removeprefix(above), int(info["size"])

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes."""
        with self._answering() as (files, root), files.open(f"{root}/{name}", "rb", block_size=_CHUNK_BYTES) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def read(self, names: Sequence[str], sizes: Sequence[int]) -> list[bytes]:
        """Return the first bytes of each of some files, concurrently if the file system can."""
        wanted = {name: size for name, size in zip(names, sizes, strict=True) if size}
        with self._answering() as (files, root):
            paths, ends = [f"{root}/{name}" for name in wanted], list(wanted.values())
            data = files.cat_ranges(paths, [0] * len(paths), ends, on_error="raise") if paths else []
        read = dict(zip(wanted, data, strict=True))
        return [read.get(name, b"") for name in names]

    def upload(self, file: Path, name: str) -> None:
        """Write a file, whole or not at all, and replace an existing one."""
        with self._answering() as (files, root):
            path, scratch = f"{root}/{name}", f"{root}/{_UNFINISHED}/{uuid.uuid4().hex}"
            for parent in (path, scratch):
                files.makedirs(parent.rpartition("/")[0], exist_ok=True)
            try:
                files.put_file(str(file), scratch)
                files.mv(scratch, path)
            except self.errors:
                with suppress(*self.errors):
                    files.rm_file(scratch)
                raise

    def renew(self, file: RemoteFile, name: str) -> bool:  # noqa: ARG002  for those that can
        """Make a file as young as a new one without sending it; say whether that was possible."""
        return False

    def download(self, name: str, to: Path) -> bool:
        """Copy a file to a local one; say whether there is one."""
        with self._answering() as (files, root), suppress(FileNotFoundError):
            files.get_file(f"{root}/{name}", str(to))
            return True
        return False

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of a file, if there is one, after reading all of it."""
        hasher = hashlib.sha256()
        with self._answering() as (files, root), suppress(FileNotFoundError):
            with files.open(f"{root}/{name}", "rb", block_size=_CHUNK_BYTES) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    hasher.update(chunk)
            return hasher.hexdigest()
        return None

    def remove(self, name: str) -> None:
        """Remove a file; no effect if it does not exist."""
        with self._answering() as (files, root), suppress(FileNotFoundError):
            files.rm_file(f"{root}/{name}")

    def move(self, name: str, to: str) -> None:
        """Give a file that is there another name, in another folder."""
        with self._answering() as (files, root):
            files.makedirs(f"{root}/{to}".rpartition("/")[0], exist_ok=True)
            files.mv(f"{root}/{name}", f"{root}/{to}")

    def unfinished(self) -> Iterator[UnfinishedBlob]:
        """Yield the rests of uploads that did not end; their ids start with this folder's URL."""
        for file in self.all(_UNFINISHED):
            yield UnfinishedBlob(f"{self.url}/{_UNFINISHED}/{file.name}", file.size_bytes, file.put_at)

    def discard(self, unfinished: UnfinishedBlob) -> None:
        """Remove the rest of an upload; no effect if it is gone already."""
        self.remove(unfinished.id.removeprefix(f"{self.url}/"))

    @contextmanager
    def _answering(self) -> Iterator[tuple[Any, str]]:
        """Give the file system and this folder's path in it; raise Unavailable for its errors."""
        try:
            yield self._connected()
        except self.errors as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise  # a disk of this machine, or of a file system that is mounted here
            text = str(error).strip() or type(error).__name__
            raise Unavailable(
                f"the remote file system does not answer: check {self.advice}", detail=f"{self.url}: {text}"
            ) from error

    def _connected(self) -> tuple[Any, str]:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> tuple[Any, str]:
        files, root = fsspec.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)
        return files, root.rstrip("/")

    def _remedy(self, error: Exception) -> str:
        return str(error)


class ObjectFolder(RemoteFolder):
    """Objects of a store without folders, which shows an object when all of it has arrived."""

    def upload(self, file: Path, name: str) -> None:
        """Write an object, whole or not at all, and replace an existing one."""
        with self._answering() as (files, root):
            files.put_file(str(file), f"{root}/{name}")

    def move(self, name: str, to: str) -> None:
        """Give an object another name."""
        with self._answering() as (files, root):
            files.cp_file(f"{root}/{name}", f"{root}/{to}")
            files.rm_file(f"{root}/{name}")

    def unfinished(self) -> Iterator[UnfinishedBlob]:
        """Yield nothing: the store itself removes rests of uploads."""
        yield from ()


def _remote_file(info: dict[str, Any]) -> RemoteFile:
    moment = next(info[key] for key in _TIMES if info.get(key) is not None)
    return RemoteFile(info["name"].rpartition("/")[2], info["size"], seconds(moment))


def seconds(moment: datetime | float) -> float:
    """Return a time in seconds since the epoch; a time without a zone is in UTC."""
    if not isinstance(moment, datetime):
        return moment
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
