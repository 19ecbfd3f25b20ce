"""Detects the encoding of a text file: by its byte order mark, else UTF-8 if all bytes fit, else Windows-1252."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_CHUNK_BYTES = 64 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")  # in Windows-1252; Latin-1 has control characters there
_MIN_ZEROS = 0.3  # of the bytes of one parity: Latin letters in UTF-16


class UnknownEncoding(Exception):
    """A file in no encoding that can be read; the text says where."""


@dataclass(frozen=True)
class Encoding:
    """An encoding by Python's name, and what a remark says of it; nothing for plain UTF-8."""

    codec: str
    said: str = ""


def detect_encoding(file: IO[bytes]) -> Encoding:
    """Return the encoding of a file, in one pass and bounded memory; leave the file at its start.

    Raise UnknownEncoding, naming the line, for bytes that are neither UTF-8 nor Windows-1252, and for UTF-8 that is
    damaged: a file with letters of UTF-8 and bytes that are none.
    """
    file.seek(0)
    head = file.read(_CHUNK_BYTES)
    try:
        for mark, codec, said in _MARKS:
            if head.startswith(mark):
                return Encoding(codec, said)
        if parity := _parity_of_zeros(head):
            return Encoding(parity, "UTF-16 without a byte order mark")
        return _without_mark(file)
    finally:
        file.seek(0)


def has_wide_characters(head: bytes) -> bool:
    """Say whether these first bytes of a file are text in UTF-16 or UTF-32, which have bytes that are 0."""
    marks = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE
    return head.startswith(marks) or bool(_parity_of_zeros(head))


def _without_mark(file: IO[bytes]) -> Encoding:
    """Count the lines before the first byte that is not UTF-8, and see what the bytes from there on are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    num_lines, has_letters = 1, False
    for chunk, is_last in _chunks(file):
        try:
            decoder.decode(chunk, final=is_last)
        except UnicodeDecodeError as error:
            num_lines += error.object[: error.start].count(b"\n")
            has_letters |= not error.object[: error.start].isascii()
            return _western(file, num_lines, has_letters=has_letters)
        num_lines += chunk.count(b"\n")
        has_letters |= not chunk.isascii()
    return Encoding("utf-8")


def _western(file: IO[bytes], line: int, *, has_letters: bool) -> Encoding:
    if has_letters:
        raise UnknownEncoding(f"line {line} has bytes that are not UTF-8, and lines before it have letters in UTF-8")
    num_lines = 1
    for chunk, _ in _chunks(file):
        if odd := _UNDEFINED.intersection(chunk):
            place = min(chunk.index(each) for each in odd)
            num_lines += chunk[:place].count(b"\n")
            raise UnknownEncoding(
                f"line {num_lines} has the byte 0x{chunk[place]:02X}, which is neither UTF-8 nor Windows-1252"
            )
        num_lines += chunk.count(b"\n")
    return Encoding("cp1252", "Windows-1252, of which Latin-1 is a part (its bytes are not UTF-8)")


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of a file, and whether they are the last ones."""
    file.seek(0)
    chunk = file.read(_CHUNK_BYTES)
    while chunk:
        following = file.read(_CHUNK_BYTES)
        yield chunk, not following
        chunk = following


def _parity_of_zeros(head: bytes) -> str:
    """Return the codec of UTF-16 without a mark, whose Latin letters have zeros at every second byte; else nothing."""
    even, odd = head[::2], head[1::2]
    if not odd:
        return ""
    if not even.count(0) and odd.count(0) > _MIN_ZEROS * len(odd):
        return "utf-16-le"
    return "utf-16-be" if not odd.count(0) and even.count(0) > _MIN_ZEROS * len(even) else ""
