"""A store to check, blobs of it that are damaged, and the one problem that a check finds."""

from __future__ import annotations

import hashlib
from pathlib import Path

from model_store.names import AliasName, VersionName
from model_store.upkeep.findings import Problem, Report

ONE, TWO = VersionName("flowers", 1), VersionName("flowers", 2)
PRODUCTION = AliasName("flowers", "production")
PACK = hashlib.sha256(b"pack").hexdigest()


def only(report: Report) -> Problem:
    """Return the one problem that was found."""
    (problem,) = report.problems
    assert not report.is_clean
    return problem


def flip_byte(path: Path, position: int = -1) -> None:
    """Damage one byte of a blob, and let its size be."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    overwrite(path, bytes(data))


def overwrite(path: Path, data: bytes) -> None:
    """Give a blob other bytes."""
    path.chmod(0o644)
    path.write_bytes(data)
