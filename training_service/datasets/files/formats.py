"""Detects the format of an upload by its first bytes: an archive or a table."""

from __future__ import annotations

import codecs
from typing import IO

_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SEPARATORS = b",;\t"
_HEAD_BYTES = 64 * 1024


def is_table(file: IO[bytes]) -> bool:
    """Say whether a file is a table: text whose first line has a separator; leave it at its start."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head.startswith(_UTF16):
        return True
    is_archive = head.startswith(_MAGIC) or head[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC) or b"\0" in head
    line = head.split(b"\n")[0]
    return not is_archive and any(separator in line for separator in _SEPARATORS)
