"""The names in an archive: their encoding, and their one normal form."""

from __future__ import annotations

import codecs
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence

from model_store.errors import InvalidInput
from model_store.normal_form import normal_form
from model_store.texts import quoted

ENCODINGS = (
    "utf-8, cp437, cp850, cp852, cp866, cp932, cp936, cp949, cp950, cp1250, cp1251, cp1252, cp1253, cp1254, cp1255, "
    "cp1256, cp1257, cp1258, big5, euc_jp, euc_kr, gb18030, gbk, iso8859-1, iso8859-2, koi8-r, koi8-u, mac-roman, "
    "shift_jis"
)
"""Encodings that names may be said to have."""

_DRIVE = re.compile(r"[A-Za-z]:")
_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075
# The accented letters of CP437, equal to those of CP850. The other codes are lines and boxes, which occur in no name.
_LETTERS = set("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜáíóúñÑß")
_SHOWN_ENCODINGS = ("gbk", "shift_jis", "euc_kr", "big5", "cp866", "cp1252")
_SHOWN_READINGS = 4


def checked_path(name: str) -> str:
    """Return an entry's name in its normal form; raise InvalidInput for an absolute path, or a path with `..`."""
    # Windows' separators count as separators: a name that is harmless here may be unpacked elsewhere.
    path = normal_form(name.replace("\\", "/"))
    if path.startswith("/") or _DRIVE.match(path):
        raise _refused(f"holds {quoted(name)}, an absolute path")
    parts = path.split("/")
    if ".." in parts:
        raise _refused(f"holds {quoted(name)}, a path with '..'")
    return "/".join(part for part in parts if part not in {"", "."})


def check_encoding(name: str) -> str:
    """Return Python's name of an encoding, empty for an empty text; raise InvalidInput for an unknown one."""
    if not name:
        return ""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        found = ""
    if found not in {codecs.lookup(each).name for each in ENCODINGS.split(", ")}:
        raise InvalidInput.of("file_name_encoding", f"must be one of {ENCODINGS}, not {quoted(name)}")
    return found


def zip_names(members: Sequence[zipfile.ZipInfo], encoding: str) -> list[str]:
    """Return each member's name.

    The encoding of a name without the mark of UTF-8 is uncertain: the standard says CP437, and most programs use the
    encoding of their system. Valid UTF-8 is read as UTF-8, a plausible CP437 name as CP437; for other names the caller
    must name the encoding. Raises InvalidInput if `encoding` does not fit, or is needed and not given; the text shows
    readings of the names.
    """
    unknown = {
        member.orig_filename: raw
        for member in members
        if not member.flag_bits & _UTF8_FLAG
        and not (raw := _raw_name(member)).isascii()
        and not _unicode_path(member, raw)
    }
    chosen = encoding or _encoding_of(unknown.values())
    try:
        decoded = {name: raw.decode(chosen) for name, raw in unknown.items()}
    except UnicodeDecodeError as error:
        raise InvalidInput.of("file_name_encoding", f"does not fit: {error.object!r:.200} is not {chosen}") from error
    return [
        decoded.get(member.orig_filename) or _unicode_path(member, _raw_name(member)) or member.filename
        for member in members
    ]


def _encoding_of(names: Iterable[bytes]) -> str:
    names = list(names)
    if all(_decodes(name, "utf-8") for name in names):
        return "utf-8"
    if all(_reads_well(part) for name in names for part in name.decode("cp437").split("/")):
        return "cp437"
    unread = next(part for name in names for part in name.split(b"/") if not _decodes(part, "ascii"))
    readings = [f"{unread.decode(each)[:40]!r} ({each})" for each in _SHOWN_ENCODINGS if _decodes(unread, each)]
    raise _refused(
        f"has names of an unknown encoding, such as {unread[:40]!r}: is it {' or '.join(readings[:_SHOWN_READINGS])}? "
        "Say the encoding (file_name_encoding; --encoding of the command), or upload the unpacked folder"
    )


def _reads_well(part: str) -> bool:
    """Say whether a name, read as CP437, is plausible for a Western language: letters, some of them with accents."""
    stem = part.rpartition(".")[0] or part
    letters = [each for each in stem if each.isalpha()]
    accented = [each for each in stem if not each.isascii()]
    turns_large = re.search(r"[^\x00-\x7f][A-Z]", stem) is not None and not stem.isupper()
    return _LETTERS.issuperset(accented) and 2 * len(accented) <= len(letters) and not turns_large


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a name; zipfile reads a name without the mark of UTF-8 as CP437."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8_FLAG else "cp437")


def _unicode_path(member: zipfile.ZipInfo, raw: bytes) -> str:
    """Return the UTF-8 name that Info-ZIP, 7-Zip and WinRAR add in an extra field; None without it."""
    for kind, data in _extra_fields(member.extra):
        if kind == _UNICODE_PATH and data[:1] == b"\x01" and data[1:5] == struct.pack("<I", zlib.crc32(raw)):
            return data[5:].decode()
    return ""


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _refused(reason: str) -> InvalidInput:
    return InvalidInput.of("archive", reason)
