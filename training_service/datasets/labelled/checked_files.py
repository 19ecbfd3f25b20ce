"""Checks each file of an archive once, in threads: whether it is a usable example."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from model_store.errors import InvalidExample
from model_store.normal_form import escaped, unshowable
from training_service.datasets.examples import RejectedFile
from training_service.datasets.files.archives import ArchiveFile
from training_service.datasets.labelled.table_files import is_table_file

_MAX_PATH_LENGTH = 1000
# Files that systems leave in folders; `._x` is macOS' metadata of `x`.
_JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir"}
_JUNK_PREFIX = "._"
_FILES_IN_FLIGHT = 16


@dataclass(frozen=True)
class TableFile:
    """A file beside the examples that may describe them."""

    path: str
    data: bytes


@dataclass(frozen=True)
class CheckedExample:
    """What a modality found in an example: facts that are kept with its row, and what its summary is made of."""

    facts: Mapping[str, Any]
    seen: Any


@dataclass(frozen=True)
class GoodFile:
    """A file that is an example, as it came."""

    path: str
    data: bytes
    checked: CheckedExample


@dataclass(frozen=True)
class SecondName:
    """Another name of a file at `target`."""

    path: str
    target: str


Check = Callable[[bytes], CheckedExample]
"""Looks at the bytes of an example; raises InvalidExample where they are none."""
CheckedFile = GoodFile | TableFile | SecondName | RejectedFile


def checked_files(files: Iterable[ArchiveFile], threads: Executor, check: Check) -> Iterator[CheckedFile]:
    """Yield each file but junk, once it was checked, in the archive's order; a few are checked ahead in `threads`.

    Of a hidden folder the folder is yielded, once.
    """
    waiting: deque[Future[CheckedFile]] = deque()
    hidden = {""}
    try:
        for file in files:
            if _is_junk(file.path):
                continue
            if (path := _hidden(file.path)) not in hidden:
                hidden.add(path)
                yield RejectedFile(_shown(path), "hidden: its name begins with a dot; rename it to use it")
            if not path:
                waiting.append(threads.submit(_checked, file, check))
            if len(waiting) >= _FILES_IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for each in waiting:
            each.cancel()


def _checked(file: ArchiveFile, check: Check) -> CheckedFile:
    path = _shown(file.path)
    if reason := _unusable_name(file.path):
        return RejectedFile(path, reason)
    if file.same_as:
        return SecondName(path, file.same_as)
    if file.data is None:
        return RejectedFile(path, file.reason)
    if is_table_file(path):
        return TableFile(path, file.data)
    try:
        return GoodFile(path, file.data, check(file.data))
    except InvalidExample as error:
        return RejectedFile(path, str(error))


def _unusable_name(path: str) -> str:
    if len(path) > _MAX_PATH_LENGTH:
        return f"the path has more than {_MAX_PATH_LENGTH} characters"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "the name is not UTF-8: rename it, or say which encoding the names have"
    found = unshowable(path)
    return f"the name has a character that cannot be shown, {found}: rename it" if found else ""


def _shown(path: str) -> str:
    return escaped(path)[:_MAX_PATH_LENGTH]


def _is_junk(path: str) -> bool:
    return path == "" or any(part.startswith(_JUNK_PREFIX) or part in _JUNK for part in path.split("/"))


def _hidden(path: str) -> str:
    """Return the outermost hidden file or folder of a path; empty without one."""
    parts = path.split("/")
    return next(("/".join(parts[: number + 1]) for number, part in enumerate(parts) if part.startswith(".")), "")
