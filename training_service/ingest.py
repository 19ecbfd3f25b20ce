"""Turns an uploaded archive into a dataset: every image decoded once, duplicates dropped, the rest dealt and packed."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import IO

from model_store.blobs import BlobStore
from model_store.errors import InvalidImage, InvalidInput, Violation
from model_store.inputs import decode_image
from training_service.archives import ArchiveFile
from training_service.datasets import DatasetManifest, DatasetRow
from training_service.splits import MIN_ROWS_PER_LABEL, SplitSpec, deal

MAX_LABELS = 1000
_MAX_LABEL_LENGTH = 200
_MAX_PATH_LENGTH = 1000
_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_FILES_IN_FLIGHT = 16


@dataclass(frozen=True)
class RejectedFile:
    """A file that is not part of the dataset, and why."""

    path: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Ingested:
    """A dataset whose blobs are stored and that is not registered yet."""

    manifest: DatasetManifest
    digest: str
    size_bytes: int
    rejected: tuple[RejectedFile, ...]


@dataclass(frozen=True)
class _Image:
    """A good image: where it is in the archive and in the spool."""

    path: str
    sha256: str
    offset: int
    size: int

    @property
    def parts(self) -> list[str]:
        return self.path.split("/")

    @property
    def label(self) -> str:
        return self.parts[0]


class Ingestor:
    """Makes datasets of archives, decoding in `threads`; safe to share between uploads."""

    def __init__(self, blobs: BlobStore, threads: Executor, *, max_image_pixels: int) -> None:
        self._blobs = blobs
        self._threads = threads
        self._max_pixels = max_image_pixels

    def ingest(self, files: Iterable[ArchiveFile], split: SplitSpec, check_going_on: Callable[[], None]) -> Ingested:
        """Store an archive's images and their manifest.

        Raises InvalidInput naming labels and counts where they do not suffice, what reading the archive raises, and
        what `check_going_on`, called between files, raises; nothing is registered then.
        """
        rejected: list[RejectedFile] = []
        with self._blobs.temporary_file() as spool:
            found: list[_Image] = []
            for result in self._checked(files):
                check_going_on()
                if isinstance(result, RejectedFile):
                    rejected.append(result)
                else:
                    found.append(_spooled(spool, *result))
            images = _without_duplicates(_in_label_folders(found, rejected), rejected)
            _check_labels(images)
            return self._stored(spool, images, split, rejected)

    def _checked(self, files: Iterable[ArchiveFile]) -> Iterator[tuple[ArchiveFile, bytes] | RejectedFile]:
        """Yield each file, once it was decoded, in the archive's order; a few are decoded ahead."""
        waiting: deque[Future[tuple[ArchiveFile, bytes] | RejectedFile]] = deque()
        try:
            for file in files:
                if not _is_junk(file.path):
                    waiting.append(self._threads.submit(self._check, file))
                if len(waiting) >= _FILES_IN_FLIGHT:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()

    def _check(self, file: ArchiveFile) -> tuple[ArchiveFile, bytes] | RejectedFile:
        path = _printable(file.path)
        if path != file.path or len(path) > _MAX_PATH_LENGTH:
            return RejectedFile(path[:_MAX_PATH_LENGTH], "the path is too long, or has characters that cannot be shown")
        if file.data is None:
            return RejectedFile(path, "the file is larger than this service takes")
        try:
            decode_image(file.data, max_pixels=self._max_pixels)
        except InvalidImage as error:
            return RejectedFile(path, str(error))
        return file, file.data

    def _stored(
        self, spool: IO[bytes], images: Sequence[_Image], split: SplitSpec, rejected: Sequence[RejectedFile]
    ) -> Ingested:
        pack = self._blobs.put(_read(spool, image) for image in images)
        labels = tuple(sorted({image.label for image in images}))
        manifest = DatasetManifest(labels, split, tuple(_rows(images, labels, split, pack.digest)))
        stored = self._blobs.put([manifest.to_json()])
        return Ingested(manifest, stored.digest, pack.size_bytes, tuple(sorted(rejected, key=lambda each: each.path)))


def _rows(images: Sequence[_Image], labels: Sequence[str], split: SplitSpec, pack: str) -> Iterator[DatasetRow]:
    offset = 0
    for label, group in groupby(images, key=lambda image: image.label):
        members = list(group)
        splits = deal([image.sha256 for image in members], split)
        for image, dealt in zip(members, splits, strict=True):
            yield DatasetRow(image.path, labels.index(label), dealt, pack, offset, image.size, image.sha256)
            offset += image.size


def _spooled(spool: IO[bytes], file: ArchiveFile, data: bytes) -> _Image:
    offset = spool.tell()
    spool.write(data)
    return _Image(file.path, hashlib.sha256(data).hexdigest(), offset, len(data))


def _read(spool: IO[bytes], image: _Image) -> bytes:
    spool.seek(image.offset)
    return spool.read(image.size)


def _in_label_folders(images: Sequence[_Image], rejected: list[RejectedFile]) -> list[_Image]:
    """Strip a single folder around all label folders; reject what then lies outside of one."""
    tops = {image.parts[0] for image in images}
    if len(tops) == 1 and any(len(image.parts) > 2 for image in images):
        images = [replace(image, path="/".join(image.parts[1:])) for image in images]
    inside = [image for image in images if len(image.parts) > 1 and len(image.label) <= _MAX_LABEL_LENGTH]
    kept = {image.path for image in inside}
    rejected += [
        RejectedFile(image.path, "the image is not in a label's folder, or its folder's name is too long")
        for image in images
        if image.path not in kept
    ]
    return sorted(inside, key=lambda image: (image.label, image.path, image.sha256))


def _without_duplicates(images: Sequence[_Image], rejected: list[RejectedFile]) -> list[_Image]:
    """Keep one of equal files; none where they have different labels, as nobody knows which is right."""
    kept: dict[str, _Image] = {}
    labels: dict[str, set[str]] = {}
    for image in images:
        labels.setdefault(image.sha256, set()).add(image.label)
    for image in images:
        if len(labels[image.sha256]) > 1:
            names = ", ".join(sorted(labels[image.sha256]))
            rejected.append(RejectedFile(image.path, f"the same image has different labels: {names}"))
        elif image.sha256 in kept:
            rejected.append(RejectedFile(image.path, f"the same image as {kept[image.sha256].path}"))
        else:
            kept[image.sha256] = image
    return list(kept.values())


def _check_labels(images: Sequence[_Image]) -> None:
    counts = Counter(image.label for image in images)
    if not 2 <= len(counts) <= MAX_LABELS:
        found = f"found {_shown(counts)}" if counts else "found none"
        text = f"must hold 2 to {MAX_LABELS} folders of images, one for each label; {found}"
        raise InvalidInput.of("archive", text)
    if small := {label: count for label, count in counts.items() if count < MIN_ROWS_PER_LABEL}:
        text = f"needs at least {MIN_ROWS_PER_LABEL} different images of each label; too few of {_shown(small)}"
        raise InvalidInput(Violation("archive", text))


def _shown(counts: Mapping[str, int]) -> str:
    shown = [f"{label} ({count})" for label, count in sorted(counts.items())[:20]]
    return ", ".join(shown) + (f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")


def _printable(path: str) -> str:
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _is_junk(path: str) -> bool:
    return path == "" or any(part.startswith(".") or part in _JUNK for part in path.split("/"))
