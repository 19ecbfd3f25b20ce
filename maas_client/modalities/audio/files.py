"""The files below a folder that are recordings by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from maas_client.files.folders import FoundFile, files_below
from maas_client.files.tables import Unusable

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")


def recordings_below(folder: Path) -> list[tuple[str, Callable[[], bytes]]]:
    """Return the path of each recording, in order, and what reads its bytes; raise Unusable where there is none."""
    if not folder.is_dir():
        raise Unusable(f"must be a folder of recordings, which {folder} is not")
    found = (each.path for each in files_below(folder) if isinstance(each, FoundFile))
    files = sorted(file for file in found if file.suffix.lower() in SUFFIXES)
    if not files:
        raise Unusable(f"there are no recordings below {folder} ({', '.join(SUFFIXES)})")
    return [(str(file), file.read_bytes) for file in files]
