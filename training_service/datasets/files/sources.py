"""Reads datasets where they lie: archives and folders at URLs, below the roots that the operator allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Protocol

from model_store.blobs.urls import remote_folder
from model_store.errors import InvalidInput, NotFound, StorageFull, StoreError
from model_store.texts import quoted
from training_service.datasets.files.archive_names import checked_path
from training_service.datasets.files.archives import ArchiveFile, ArchiveLimits, too_large
from training_service.datasets.files.local_root import LocalRoot

_FILE = "file://"
# Characters that some file system takes for another character, a pattern, a query, or a second URL.
_FORBIDDEN = re.compile(r"[%\\?#*\x00-\x1f\x7f]|::")
_FILES_AT_ONCE = 16
_BYTES_AT_ONCE = 64 * 1024 * 1024


class NotAllowed(StoreError):
    """The operator does not allow this URL; the text names the setting."""


class SourceNotFound(NotFound):
    """There is nothing at a URL."""


class Root(Protocol):
    """Files below an URL; a name is the path below it, empty for the root itself."""

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it does not exist."""

    def sizes_below(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield path, below the folder of this name, and size of each file in it."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes."""

    def read(self, names: Sequence[str], sizes: Sequence[int]) -> list[bytes]:
        """Return the first bytes of each of some files."""


@dataclass(frozen=True)
class Source:
    """An archive or a folder below a root."""

    uri: str
    root: Root
    name: str


class Sources:
    """Finds and reads sources, by the limits of uploads; safe to share between threads."""

    def __init__(self, roots: Sequence[str], limits: ArchiveLimits, *, max_archive_bytes: int) -> None:
        """Raise InvalidInput for a root that is no URL, or that nothing installed here can open."""
        self._roots = {root: _open_root(root) for root in map(_checked_root, roots)}
        self._limits = limits
        self._max_archive_bytes = max_archive_bytes

    def find(self, uri: str) -> Source:
        """Return the source of a URL, unread; raise InvalidInput, or NotAllowed for a URL below no root."""
        uri = _checked(uri, "uri")
        for url, root in self._roots.items():
            if uri == url or uri.startswith(f"{url}/"):
                return Source(uri, root, uri[len(url) + 1 :])
        if self._roots:
            raise NotAllowed(
                f"{quoted(uri)} is below none of the URLs that MAAS_TRAINING_DATASET_ROOTS of the service names"
            )
        raise NotAllowed(
            "this service reads no URLs: let its operator name those below which it may, such as "
            "MAAS_TRAINING_DATASET_ROOTS=file:///data,s3://bucket/data, or upload the dataset"
        )

    def fetch(self, source: Source, spool: IO[bytes]) -> Iterator[ArchiveFile] | None:
        """Return the files of a folder, read in groups; None for a single file, which is in the spool then.

        Raises SourceNotFound, StorageFull for too large a file, InvalidInput for a folder over a limit or with links,
        and Unavailable if the file system does not answer.
        """
        size = source.root.size(source.name)
        if size is None:
            return self._folder(source)
        if size > self._max_archive_bytes:
            raise StorageFull(f"{source.uri} is over the limit of {self._max_archive_bytes} bytes: split it")
        for chunk in source.root.chunks(source.name):
            spool.write(chunk)
            if spool.tell() > size:
                raise InvalidInput.of("uri", f"{source.uri} is being written to: try again when it is whole")
        return None

    def _folder(self, source: Source) -> Iterator[ArchiveFile]:
        found: list[tuple[str, int]] = []
        total = 0
        for path, size in source.root.sizes_below(source.name):
            found.append((path, size))
            total += size if size <= self._limits.max_file_bytes else 0
            if len(found) > self._limits.max_files or total > self._limits.max_unpacked_bytes:
                most = f"{self._limits.max_files} files or {self._limits.max_unpacked_bytes} bytes"
                raise InvalidInput.of("uri", f"{source.uri} has more than {most}: split it into several datasets")
        if not found:
            raise SourceNotFound(f"{source.uri}: there is no file and no folder with files, or a link leads there")
        yield from self._files(source, sorted(found))

    def _files(self, source: Source, found: Sequence[tuple[str, int]]) -> Iterator[ArchiveFile]:
        small = [each for each in found if each[1] <= self._limits.max_file_bytes]
        yield from (too_large(checked_path(path)) for path, size in found if size > self._limits.max_file_bytes)
        for start, end in pairwise(_cuts([size for _, size in small])):
            paths, sizes = zip(*small[start:end], strict=True)
            names = [f"{source.name}/{path}".removeprefix("/") for path in paths]
            yield from map(ArchiveFile, map(checked_path, paths), source.root.read(names, sizes))


def _cuts(sizes: Sequence[int]) -> Iterator[int]:
    """Yield where to cut files into batches of a few files, and of bytes that memory holds."""
    start = total = 0
    yield start
    for number, size in enumerate(sizes):
        if number > start and (number - start == _FILES_AT_ONCE or total + size > _BYTES_AT_ONCE):
            yield (start := number)
            total = 0
        total += size
    if sizes:
        yield len(sizes)


def _checked(url: str, field: str) -> str:
    """Return a URL in its one form; raise InvalidInput for a URL that a file system might read differently."""
    url = (f"{_FILE}{url}" if url.startswith("/") else url).rstrip("/")
    scheme, separator, path = url.partition("://")
    if not separator or not scheme or (url.startswith(_FILE) and not path.startswith("/")):
        raise InvalidInput.of(
            field, f"must be a URL such as file:///data/flowers or s3://bucket/flowers, not {quoted(url)}"
        )
    if _FORBIDDEN.search(url) or {"", ".", ".."} & set(path.removeprefix("/").split("/")):
        raise InvalidInput.of(
            field, f"must have no '..', empty names, '%', '\\', '?', '#', '*' or '::', as {quoted(url)} has"
        )
    return url


def _checked_root(url: str) -> str:
    return _checked(url, "dataset_roots")


def _open_root(url: str) -> Root:
    if url.startswith(_FILE):
        return LocalRoot(Path(url.removeprefix(_FILE)))
    try:
        return remote_folder(url)
    except InvalidInput as error:
        raise InvalidInput.of("dataset_roots", error.violations[0].description) from error
