"""Archives are read as streams, and hostile ones are refused as a whole."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from model_store.errors import InvalidInput
from tests.training_service.making import tar_member, tar_of, tar_with, zip_of
from training_service.archives import ArchiveLimits, read_archive

LIMITS = ArchiveLimits(max_unpacked_bytes=50_000_000, max_files=100, max_file_bytes=20_000_000)
FILES = {"cat/1.png": b"one", "./dog//2.png": b"two" * 1000}
ZEROS = bytes(10_000_000)


def read(archive: bytes, limits: ArchiveLimits = LIMITS) -> dict[str, bytes | None]:
    """Read all files of an archive."""
    return {file.path: file.data for file in read_archive(io.BytesIO(archive), limits)}


def refuse(archive: bytes, text: str, limits: ArchiveLimits = LIMITS) -> None:
    """Expect an archive to be refused for a reason."""
    with pytest.raises(InvalidInput, match=text) as caught:
        read(archive, limits)
    assert [each.field for each in caught.value.violations] == ["archive"]


@pytest.mark.parametrize("pack", [zip_of, tar_of, lambda files: tar_of(files, gzipped=True)], ids=["zip", "tar", "gz"])
def test_formats_are_told_by_their_content(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """Zip, tar and tar.gz give the same files under clean paths."""
    assert read(pack(FILES)) == {"cat/1.png": b"one", "dog/2.png": b"two" * 1000}


@pytest.mark.parametrize("path", ["../evil.png", "cat/../../evil.png", "cat/..", "..\\evil.png"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_paths_that_climb_are_refused(pack: Callable[[dict[str, bytes]], bytes], path: str) -> None:
    """No entry may leave the folder."""
    refuse(pack({"cat/1.png": b"one", path: b"evil"}), r"a path with '\.\.'")


@pytest.mark.parametrize("path", ["/etc/passwd", "\\windows\\evil", "C:/evil.png", "c:evil.png"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_absolute_paths_are_refused(pack: Callable[[dict[str, bytes]], bytes], path: str) -> None:
    """No entry may name a place of its own."""
    refuse(pack({path: b"evil"}), "an absolute path")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes) -> None:
    """Only files and folders are photos."""
    refuse(tar_with([(tar_member("cat/1.png", kind, "/etc/passwd"), b"")]), "cat/1.png.*a link, a device")


def test_links_in_a_zip_are_refused() -> None:
    """A zip keeps the kind of a file in its mode."""
    info = zipfile.ZipInfo("cat/1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refuse(buffer.getvalue(), "a link or a device")


@pytest.mark.parametrize("pack", [zip_of, lambda files: tar_of(files, gzipped=True)], ids=["zip", "gz"])
def test_bombs_are_refused(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """Ten million zeros in ten thousand bytes are refused."""
    refuse(pack({"cat/1.png": ZEROS}), "more than 100 times")


def test_a_bomb_of_many_small_files_is_refused() -> None:
    """The ratio holds for the whole archive as well as for each file."""
    files = {f"cat/{index}.png": bytes(900_000) for index in range(20)}
    refuse(zip_of(files), "more than 100 times")
    refuse(tar_of(files, gzipped=True), "more than 100 times")


def test_a_header_of_many_bytes_is_refused() -> None:
    """A long name is read in one piece, so its size is limited before it is read."""
    info = tar_member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 2_000_000
    refuse(tar_with([(info, bytes(info.size))]), "a header of")


def test_what_is_unpacked_is_limited() -> None:
    """The limit holds for all files together."""
    limits = ArchiveLimits(max_unpacked_bytes=10_000, max_files=100, max_file_bytes=9_000, max_ratio=10_000)
    files = {f"cat/{index}.png": bytes([index]) * 4_000 for index in range(4)}
    refuse(zip_of(files), "more than 10000 bytes", limits)
    refuse(tar_of(files, gzipped=True), "more than 10000 bytes", limits)


def test_the_number_of_entries_is_limited() -> None:
    """Folders count too."""
    files = {f"cat/{index}.png": b"x" for index in range(101)}
    refuse(zip_of(files), "more than 100 entries")
    refuse(tar_of(files), "more than 100 entries")


def test_a_file_over_the_limit_is_passed_over() -> None:
    """One large file does not spoil an archive."""
    limits = ArchiveLimits(max_unpacked_bytes=10**6, max_files=100, max_file_bytes=10)
    files = {"cat/1.png": b"x" * 11, "cat/2.png": b"x" * 10}
    assert read(zip_of(files), limits) == read(tar_of(files), limits) == {"cat/1.png": None, "cat/2.png": b"x" * 10}


@pytest.mark.parametrize(
    ("archive", "text"),
    [
        (b"", "is empty"),
        (b"hello", "cannot be read"),
        (b"PK\x03\x04 but no zip", "cannot be read"),
        (gzip.compress(b"no tar", mtime=0), "cannot be read"),
        (tar_of(FILES, gzipped=True)[:-20], "cannot be read"),
        (zip_of(FILES)[:-10], "cannot be read"),
        (tar_of(FILES)[:600], "cannot be read"),
    ],
)
def test_what_is_no_archive_is_refused(archive: bytes, text: str) -> None:
    """Damage ends in a clear error."""
    refuse(archive, text)


def test_a_damaged_member_is_refused() -> None:
    """A zip's checksums are compared."""
    archive = bytearray(zip_of({"cat/1.png": bytes(range(256)) * 20}))
    archive[100] ^= 0xFF
    refuse(bytes(archive), "cannot be read")
