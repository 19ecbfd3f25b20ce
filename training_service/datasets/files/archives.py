"""Reads an untrusted archive: zip, tar or tar.gz as a stream of files, never unpacked to a path.

Absolute paths, `..`, symbolic links, devices, and more than 100 unpacked bytes for each byte that was sent make the
whole archive unusable: no honest archive of data has them. The limits hold while bytes are unpacked, whatever headers
claim. An archive is read to its end: a truncated one, or one with trailing bytes, is damaged.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from model_store.errors import InvalidInput
from training_service.datasets.files.archive_names import checked_path, zip_names

# A short run of zeros compresses a thousandfold and is harmless.
_RATIO_FLOOR_BYTES = 1024 * 1024
_CHUNK_BYTES = 128 * 1024
# Both libraries read a header, or a whole table of contents, in one piece, of a size that the archive names.
_MAX_TAR_READ_BYTES = 256 * 1024
_MAX_ZIP_READ_BYTES = 64 * 1024 * 1024
_ZIP_END, _ZIP_END_BYTES = b"PK\x05\x06", 22
_ZIP_MAGIC = (b"PK\x03\x04", _ZIP_END)
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_LINKS = "pack what it points at (tar --dereference), or upload the folder itself"
# The exceptions of the libraries for damaged archives.
_READING_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RecursionError,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """The limits of an archive: a file over `max_file_bytes` is skipped, any other excess refuses the archive."""

    max_unpacked_bytes: int
    max_files: int
    max_file_bytes: int
    max_ratio: int = 100


@dataclass(frozen=True)
class ArchiveFile:
    """One regular file; `data` is None for a file that was not read, with the reason.

    A hard link, a second name of a file, has no data: it is the same as the file at `same_as`.
    """

    path: str
    data: bytes | None
    reason: str = ""
    same_as: str = ""


def too_large(path: str) -> ArchiveFile:
    """Return a file that is over the limit of one file."""
    return ArchiveFile(path, None, "the file is larger than this service takes")


def read_archive(file: IO[bytes], limits: ArchiveLimits, encoding: str = "") -> Iterator[ArchiveFile]:
    """Yield the files of a seekable archive in its order, by normalised paths.

    `encoding`, if given, is the encoding of names without the mark of UTF-8. Raises InvalidInput for the field
    `archive`, naming the entry, if it is hostile, damaged or over a limit.
    """
    budget = _Budget(_size_of(file), limits)
    magic = file.read(4)
    file.seek(0)
    if not magic:
        raise _refused("is empty: send the bytes of a zip, tar or tar.gz file")
    try:
        if magic in _ZIP_MAGIC:
            yield from _read_zip(file, budget, encoding)
        elif magic.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield from _read_tar(cast("IO[bytes]", unzipped), budget, encoding)
        else:
            yield from _read_tar(file, budget, encoding)
    except _READING_ERRORS as error:
        raise _refused(f"cannot be read as a zip, tar or tar.gz file: {error}") from error


class _Budget:
    """Counts unpacked bytes and files against the limits."""

    def __init__(self, archive_bytes: int, limits: ArchiveLimits) -> None:
        self.limits = limits
        self._archive_bytes = archive_bytes
        self._num_entries = 0

    def count_entry(self) -> None:
        self._num_entries += 1
        if self._num_entries > self.limits.max_files:
            raise _refused(f"has more than {self.limits.max_files} entries: split it into several datasets")

    def check_total(self, unpacked: int, path: str) -> None:
        if unpacked > self.limits.max_unpacked_bytes:
            raise _refused(f"unpacks to more than {self.limits.max_unpacked_bytes} bytes (at {path!r})")
        self.check_ratio(unpacked, self._archive_bytes, path)

    def check_ratio(self, unpacked: int, packed: int, path: str) -> None:
        if unpacked > _RATIO_FLOOR_BYTES and unpacked > self.limits.max_ratio * packed:
            raise _refused(
                f"unpacks to more than {self.limits.max_ratio} times its size (at {path!r}): not an example's"
            )


class _Guarded:
    """A file that reads forward, in small pieces, and within the budget while it is decompressed."""

    def __init__(self, file: IO[bytes], max_read: int, budget: _Budget | None) -> None:
        self._file = file
        self._max_read = max_read
        self._budget = budget
        self.entry = "its start"
        self.last_read = b""

    def read(self, size: int = -1) -> bytes:
        if size > self._max_read:
            raise _refused(f"has a header of {size} bytes (after {self.entry!r}): that is no archive of examples")
        self.last_read = self._file.read(size)
        self._check(self._file.tell())
        return self.last_read

    def seek(self, offset: int, whence: int = 0) -> int:
        if self._budget is not None:
            self._check(offset)
            if offset < self._file.tell():
                raise _refused(f"has entries that overlap (after {self.entry!r})")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def _check(self, position: int) -> None:
        if self._budget is not None:
            self._budget.check_total(position, self.entry)


def _read_tar(file: IO[bytes], budget: _Budget, encoding: str) -> Iterator[ArchiveFile]:
    guarded = _Guarded(file, _MAX_TAR_READ_BYTES, budget)
    with tarfile.open(fileobj=cast("IO[bytes]", guarded), mode="r:", encoding=encoding or "utf-8") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # a public name that its stubs lack; it would pile up
            path = checked_path(member.name)
            guarded.entry = path
            budget.count_entry()
            if not (member.isdir() or member.isreg() or member.islnk()) or member.issparse():
                raise _refused(f"holds {path!r}, which is a symbolic link, a device or a sparse file: {_LINKS}")
            if member.islnk():
                yield ArchiveFile(path, None, same_as=checked_path(member.linkname))
            if member.isreg():
                yield _read_file(path, archive.extractfile(member) or io.BytesIO(), member.size, budget)
        _check_end(guarded)


def _check_end(file: _Guarded) -> None:
    """Raise InvalidInput unless a tar ends with zeros alone; reading them has gzip compare its checksum, too.

    The library stops at any block that is no header, and has read that block last.
    """
    if len(file.last_read) < tarfile.BLOCKSIZE:
        raise _refused(f"ends (after {file.entry!r}) without the end of a tar file: it was cut")
    while file.last_read:
        if file.last_read.strip(b"\0"):
            raise _refused(f"is damaged after {file.entry!r}, or has other bytes behind its end")
        file.read(_CHUNK_BYTES)


def _read_zip(file: IO[bytes], budget: _Budget, encoding: str) -> Iterator[ArchiveFile]:
    guarded = _Guarded(file, _MAX_ZIP_READ_BYTES, None)
    unpacked = 0
    with zipfile.ZipFile(cast("IO[bytes]", guarded)) as archive:
        _check_zip_end(file, len(archive.comment))
        members = archive.infolist()
        for member, name in zip(members, zip_names(members, encoding), strict=True):
            path = checked_path(name)
            budget.count_entry()
            _check_zip_member(member, path)
            if member.is_dir():
                continue
            budget.check_ratio(member.file_size, member.compress_size, path)
            # A file never unpacks to more than its header says: the library stops there, then compares the CRC.
            unpacked += member.file_size
            budget.check_total(unpacked, path)
            with archive.open(member) as content:
                yield _read_file(path, content, member.file_size, budget)


def _check_zip_end(file: IO[bytes], comment_bytes: int) -> None:
    file.seek(-_ZIP_END_BYTES - comment_bytes, os.SEEK_END)
    if file.read(len(_ZIP_END)) != _ZIP_END:
        raise _refused("has other bytes behind its end")


def _check_zip_member(member: zipfile.ZipInfo, path: str) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _refused(f"holds {path!r}, which is a symbolic link or a device: {_LINKS}")
    if member.flag_bits & _ENCRYPTED:
        raise _refused(f"holds {path!r}, which is encrypted")
    if member.compress_type not in _ZIP_METHODS:
        raise _refused(f"holds {path!r} in an unusual compression: use plain deflate")


def _read_file(path: str, content: IO[bytes], size: int, budget: _Budget) -> ArchiveFile:
    if size > budget.limits.max_file_bytes:
        return too_large(path)
    chunks = []
    while chunk := content.read(_CHUNK_BYTES):
        chunks.append(chunk)
    return ArchiveFile(path, b"".join(chunks))


def _size_of(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _refused(reason: str) -> InvalidInput:
    return InvalidInput.of("archive", reason)
