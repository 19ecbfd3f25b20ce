"""Archives are read as streams, and hostile ones are refused as a whole."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import pytest

from model_store.errors import InvalidInput
from tests.training_service.making import tar_member, tar_of, tar_with, zip_of
from training_service.datasets.files.archives import ArchiveLimits, read_archive

LIMITS = ArchiveLimits(max_unpacked_bytes=50_000_000, max_files=100, max_file_bytes=20_000_000)
FILES = {"cat/1.png": b"one", "./dog//2.png": b"two" * 1000}
ZEROS = bytes(10_000_000)


def read(archive: bytes, limits: ArchiveLimits = LIMITS, encoding: str = "") -> dict[str, bytes | None]:
    """Read all files of an archive."""
    return {file.path: file.data for file in read_archive(io.BytesIO(archive), limits, encoding)}


def refuse(archive: bytes, text: str, limits: ArchiveLimits = LIMITS, encoding: str = "") -> None:
    """Expect an archive to be refused for a reason."""
    with pytest.raises(InvalidInput, match=text) as caught:
        read(archive, limits, encoding)
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


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes) -> None:
    """Only files and folders are photos."""
    refuse(
        tar_with([(tar_member("cat/1.png", kind, "/etc/passwd"), b"")]),
        "cat/1.png.*a symbolic link, a device.*tar --dereference",
    )


def test_links_in_a_zip_are_refused() -> None:
    """A zip keeps the kind of a file in its mode."""
    info = zipfile.ZipInfo("cat/1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refuse(buffer.getvalue(), "a symbolic link or a device")


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


GZIPPED = tar_of(FILES, gzipped=True)
FALSE_CHECKSUM = GZIPPED[:-8] + bytes([GZIPPED[-8] ^ 1]) + GZIPPED[-7:]


@pytest.mark.parametrize(
    ("archive", "text"),
    [
        (FALSE_CHECKSUM, "cannot be read.*CRC"),
        (GZIPPED + b"junk", "cannot be read"),
        (GZIPPED + GZIPPED, "other bytes behind its end"),
        (GZIPPED[:-8], "cannot be read"),
        (tar_of(FILES) + b"junk", "other bytes behind its end"),
        (tar_of(FILES) + tar_of(FILES), "other bytes behind its end"),
        (tar_of(FILES)[: 512 * 2], "it was cut"),
        (tar_of(FILES)[: 512 * 2 + 100], "it was cut"),
        (tar_of(FILES)[: 512 * 2] + b"\1" + tar_of(FILES)[512 * 2 + 1 :], "damaged after 'cat/1.png'"),
        (zip_of(FILES) + b"junk", "other bytes behind its end"),
    ],
    ids=["checksum", "gz-junk", "two-gz", "no-checksum", "junk", "two", "cut", "cut-in-a-header", "header", "zip-junk"],
)
def test_an_archive_is_read_to_its_end(archive: bytes, text: str) -> None:
    """What was damaged or cut there, or is two archives, holds other files than were packed."""
    refuse(archive, text)


def test_zeros_behind_the_end_are_no_junk() -> None:
    """Tar pads its files, and tapes padded them more."""
    padded = tar_of(FILES) + bytes(100_000)
    assert set(read(padded)) == set(read(gzip.compress(padded))) == {"cat/1.png", "dog/2.png"}


def zip_of_names(*names: bytes) -> bytes:
    """Return a zip archive with names in an encoding of their own, not marked as UTF-8, as many programs write them."""
    placeholders = [chr(ord("A") + number) * len(name) for number, name in enumerate(names)]
    archive = zip_of(dict.fromkeys(placeholders, b"x"))
    for placeholder, name in zip(placeholders, names, strict=True):
        archive = archive.replace(placeholder.encode(), name)
    return archive


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("\u82b1/1.jpg", "utf-8"),
        ("caf\u00e9/1.jpg", "utf-8"),
        ("\u0446\u0432\u0435\u0442\u044b/1.jpg", "utf-8"),
        ("H\u00e4user/B\u00e4r gr\u00fcn.jpg", "cp437"),
        ("\u00d6l/\u00c4PFEL.jpg", "cp850"),
    ],
)
def test_names_of_a_zip_that_can_be_one_thing_alone_are_read(name: str, encoding: str) -> None:
    """UTF-8 without its mark, as macOS writes it, and the standard's CP437 where it reads as words do."""
    assert set(read(zip_of_names(name.encode(encoding), b"plain/1.jpg"))) == {name, "plain/1.jpg"}


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("\u82b1/1.jpg", "gbk"),
        ("\u9ce5/1.jpg", "shift_jis"),
        ("\u30ab\u30e1\u30e9/1.jpg", "shift_jis"),
        ("\u8868\u793a/1.jpg", "cp932"),
        ("\uaf43/1.jpg", "euc_kr"),
        ("\u0446\u0432\u0435\u0442\u044b/1.jpg", "cp866"),
        ("\u041a\u041e\u0422/1.jpg", "cp866"),
        ("caf\u00e9/1.jpg", "cp1252"),
    ],
)
def test_names_of_a_zip_that_may_be_several_things_are_asked_for(name: str, encoding: str) -> None:
    """Nothing is guessed: the refusal shows what the name may be, and the encoding that is said is used."""
    archive = zip_of_names(name.encode(encoding), b"plain/1.jpg")
    refuse(archive, r"names of an unknown encoding, such as .* is it .*file_name_encoding")
    assert set(read(archive, encoding=encoding)) == {name, "plain/1.jpg"}


def test_the_refusal_shows_what_a_name_may_be() -> None:
    """So that a person can choose."""
    refuse(zip_of_names("\u82b1/1.jpg".encode("gbk")), r"is it '\u82b1' \(gbk\) or ")


def test_an_encoding_that_does_not_fit_is_refused() -> None:
    """By its own field, which the caller chose."""
    with pytest.raises(InvalidInput, match=r"is not utf-8") as caught:
        read(zip_of_names("\u82b1/1.jpg".encode("gbk")), encoding="utf-8")
    assert [each.field for each in caught.value.violations] == ["file_name_encoding"]


def test_a_name_in_utf_8_beside_the_other_one_is_taken() -> None:
    """Info-ZIP's extra field, which 7-Zip and WinRAR write, says which name it belongs to."""
    raw, name = "\u82b1.jpg".encode("gbk"), "\u82b1.jpg"
    info = zipfile.ZipInfo("0" * len(raw))
    data = struct.pack("<BI", 1, zlib.crc32(raw)) + name.encode()
    info.extra = struct.pack("<HH", 0x7075, len(data)) + data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"x")
    assert set(read(buffer.getvalue().replace(b"0" * len(raw), raw))) == {name}


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_names_have_one_form(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """An accent that is written as a character of its own joins its letter."""
    assert set(read(pack({"cafe\u0301/1.png": b"x"}))) == {"caf\u00e9/1.png"}


def test_names_of_a_tar_in_another_encoding_are_read_by_it() -> None:
    """Where it is said."""
    info = tar_member("\u82b1/1.jpg")
    archive = info.tobuf(tarfile.GNU_FORMAT, encoding="gbk") + bytes(1024)
    assert set(read(archive, encoding="gbk")) == {"\u82b1/1.jpg"}
    assert set(read(archive)) == {"\udcbb\udca8/1.jpg"}
