"""Looks at each file of an archive once: is it an image that can be used, and what does it look like."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass

from model_store.errors import InvalidImage
from model_store.inputs import decode_image
from training_service.archives import ArchiveFile
from training_service.dataset_summary import Colours
from training_service.layouts import is_split_file
from training_service.near_duplicates import look_of

_MAX_PATH_LENGTH = 1000
_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_FILES_IN_FLIGHT = 16
# Looks and colours are taken of a small copy: a look has nine by eight levels only.
_SEEN_EDGE = 128


@dataclass(frozen=True)
class RejectedFile:
    """A file that is not part of the dataset, and why."""

    path: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class SplitFile:
    """A file that may say how images are split."""

    path: str
    data: bytes


@dataclass(frozen=True)
class GoodImage:
    """An image that was decoded, still encoded."""

    path: str
    data: bytes
    width: int
    height: int
    look: str
    colours: Colours


CheckedFile = GoodImage | SplitFile | RejectedFile


def checked_files(files: Iterable[ArchiveFile], threads: Executor, *, max_pixels: int) -> Iterator[CheckedFile]:
    """Yield each file but junk, once it was decoded, in the archive's order; a few are decoded ahead in `threads`."""
    waiting: deque[Future[CheckedFile]] = deque()
    try:
        for file in files:
            if not _is_junk(file.path):
                waiting.append(threads.submit(_checked, file, max_pixels))
            if len(waiting) >= _FILES_IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for each in waiting:
            each.cancel()


def _checked(file: ArchiveFile, max_pixels: int) -> CheckedFile:
    path = _printable(file.path)
    if path != file.path or len(path) > _MAX_PATH_LENGTH:
        return RejectedFile(path[:_MAX_PATH_LENGTH], "the path is too long, or has characters that cannot be shown")
    if file.data is None:
        return RejectedFile(path, "the file is larger than this service takes")
    if is_split_file(path):
        return SplitFile(path, file.data)
    try:
        image = decode_image(file.data, max_pixels=max_pixels)
    except InvalidImage as error:
        return RejectedFile(path, str(error))
    small = image.reduce(max(1, min(image.size) // _SEEN_EDGE))
    return GoodImage(path, file.data, image.width, image.height, look_of(small), Colours.of_image(small))


def _printable(path: str) -> str:
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _is_junk(path: str) -> bool:
    return path == "" or any(part.startswith(".") or part in _JUNK for part in path.split("/"))
