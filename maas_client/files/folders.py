"""The files of a folder, wherever links lead, and what in it is left out: each by its name and the reason."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FolderId = tuple[int, int]


@dataclass(frozen=True)
class FoundFile:
    """A file to read, its path below the folder, its size, and when it was modified (nanoseconds since the epoch)."""

    path: Path
    name: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class LeftOut:
    """What cannot be read, by its path below the folder."""

    name: str
    reason: str


def files_below(folder: Path) -> Iterator[FoundFile | LeftOut]:
    """Yield all that is in a folder and below, by name; links are followed, but not back to where they lie."""
    yield from _below(folder, "", ())


def reason_of(error: OSError) -> str:
    """Say why something cannot be read."""
    return f"it cannot be read: {error.strerror or error}"


def _below(folder: Path, name: str, around: tuple[_FolderId, ...]) -> Iterator[FoundFile | LeftOut]:
    try:
        found = folder.stat()
        here = (found.st_dev, found.st_ino)
        if here in around:
            yield LeftOut(name, "it is a link to a folder that it lies in")
            return
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield LeftOut(name or ".", reason_of(error))
        return
    if not entries and name:
        yield LeftOut(name, "it is an empty folder")
    for entry in entries:
        yield from _entry(entry, f"{name}/{entry.name}" if name else entry.name, (*around, here))


def _entry(path: Path, name: str, around: tuple[_FolderId, ...]) -> Iterator[FoundFile | LeftOut]:
    try:
        name.encode()
        found = path.stat()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        yield LeftOut(shown, "its name is not UTF-8: rename it")
    except OSError as error:
        yield LeftOut(name, "it is a link that leads nowhere" if path.is_symlink() else reason_of(error))
    else:
        if stat.S_ISDIR(found.st_mode):
            yield from _below(path, name, around)
        elif stat.S_ISREG(found.st_mode):
            yield FoundFile(path, name, found.st_size, found.st_mtime_ns)
        else:
            yield LeftOut(name, "it is neither a file nor a folder")
