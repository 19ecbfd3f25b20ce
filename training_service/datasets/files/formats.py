"""Detects the format of an upload by its first bytes: an archive or a table."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import IO

from training_service.datasets.files.encodings import has_wide_characters

_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_PARQUET_MAGIC = b"PAR1"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text has
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\{\s*[\"}]|\[\s*\{)")
_HEAD_BYTES = 64 * 1024


class Format(StrEnum):
    """The form of an upload."""

    ARCHIVE = "archive"
    """An archive of files, or a folder."""
    CSV = "csv"
    """One file of values that are separated by commas, semicolons, tabs or bars."""
    JSON_LINES = "jsonl"
    """One file with a JSON object in each line."""
    PARQUET = "parquet"
    """One Parquet file."""


def format_of(file: IO[bytes]) -> Format:
    """Return the format of a file, and leave it at its start; text is a table, all that is unknown an archive."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head.startswith(_PARQUET_MAGIC):
        return Format.PARQUET
    if head.startswith(_MAGIC) or head[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC) or not head:
        return Format.ARCHIVE
    if has_wide_characters(head):
        return Format.CSV
    if _JSON.match(head):
        return Format.JSON_LINES
    return Format.ARCHIVE if _CONTROL.search(head) else Format.CSV
