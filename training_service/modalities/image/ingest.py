"""Turns an archive's files into a dataset: every image decoded once, duplicates dropped, the rest dealt and packed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import IO, Any

from model_store.blobs import BlobStore
from model_store.errors import InvalidInput
from training_service.datasets.archives import ArchiveFile
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.splits import MIN_ROWS_PER_LABEL, Split, SplitSpec, assign_splits
from training_service.modalities.image.checked_files import (
    GoodImage,
    RejectedFile,
    SecondName,
    SplitFile,
    checked_files,
)
from training_service.modalities.image.layouts import Layout, LayoutKind, Place, read_layout
from training_service.modalities.image.near_duplicates import group_near_duplicates
from training_service.modalities.image.remarks import remarks_on, with_left_out
from training_service.modalities.image.summary import Colours, summary

MAX_LABELS = 1000
# Of equal files the one that is held out is kept: who chose it wants to test on it.
_KEPT_FIRST = (Split.TEST, Split.VALIDATION, Split.TRAIN, None)


@dataclass(frozen=True)
class Ingested:
    """A dataset whose blobs are stored and that is not registered yet."""

    manifest: DatasetManifest
    digest: str
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Parent:
    """The dataset that an archive is appended to: its rows stay as they are."""

    name: str
    manifest: DatasetManifest
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class _Image:
    """An image that may become a row; `pack` is empty where it is new, and `offset` then one in the spool."""

    path: str
    label: str
    split: Split | None
    pack: str
    offset: int
    size: int
    sha256: str
    width: int
    height: int
    look: str
    colours: Colours | None
    is_dark: bool = False

    @property
    def order(self) -> tuple[str, str, str]:
        return self.label, self.path, self.sha256


class Ingestor:
    """Makes datasets of archives, decoding in `threads`; safe to share between uploads."""

    def __init__(self, blobs: BlobStore, threads: Executor, *, max_image_pixels: int) -> None:
        self._blobs = blobs
        self._threads = threads
        self._max_pixels = max_image_pixels

    def ingest(
        self,
        files: Iterable[ArchiveFile],
        split: SplitSpec,
        check_going_on: Callable[[], None],
        parent: Parent | None = None,
    ) -> Ingested:
        """Store an archive's images, and the manifest of them and of the parent's rows.

        Raises InvalidInput naming labels and counts where they do not suffice, what reading the archive and its layout
        raises, each with the files that were left out until then, and what `check_going_on`, called between files,
        raises; nothing is registered then.
        """
        rejected: list[RejectedFile] = []
        try:
            return self._ingested(files, split, check_going_on, parent, rejected)
        except InvalidInput as error:
            raise with_left_out(error, rejected) from error

    def _ingested(
        self,
        files: Iterable[ArchiveFile],
        split: SplitSpec,
        check_going_on: Callable[[], None],
        parent: Parent | None,
        rejected: list[RejectedFile],
    ) -> Ingested:
        with self._blobs.temporary_file() as spool:
            found, layout = self._read(files, spool, check_going_on, rejected)
            old = _rows_of(parent) if parent is not None else []
            new = _without_duplicates(found, old, parent.name if parent is not None else "", rejected)
            images = sorted(old + new, key=lambda image: image.order)
            _check_labels(images, new, layout)
            labels, digests = [image.label for image in images], [image.sha256 for image in images]
            groups = group_near_duplicates(labels, digests, [image.look for image in images])
            dealt = _dealt(images, groups.tolist(), split, layout)
            _check_splits(dealt)
            manifest = self._stored(spool, images, dealt, split)
        stored = self._blobs.put([manifest.to_json()])
        seen = [image.colours for image in new if image.colours is not None]
        if parent is not None:
            seen.append(Colours.of_summary(len(old), parent.summary))
        reasons = [each.to_json() for each in sorted(rejected, key=lambda each: each.path)]
        rows = [(image.label, image.path, image.is_dark) for image in images]
        remarks = [*layout.remarks, *remarks_on(rows, rejected, layout.around)]
        about = summary(manifest, groups, Colours.of_all(seen), layout.kind, reasons, remarks)
        return Ingested(manifest, stored.digest, about)

    def _read(
        self,
        files: Iterable[ArchiveFile],
        spool: IO[bytes],
        check_going_on: Callable[[], None],
        rejected: list[RejectedFile],
    ) -> tuple[list[_Image], Layout]:
        """Return the images in label folders, their bytes in the spool, and how they lay."""
        found: list[_Image] = []
        split_files: dict[str, bytes] = {}
        names: list[SecondName] = []
        for each in checked_files(files, self._threads, max_pixels=self._max_pixels):
            check_going_on()
            if isinstance(each, RejectedFile):
                rejected.append(each)
            elif isinstance(each, SplitFile):
                split_files[each.path] = each.data
            elif isinstance(each, SecondName):
                names.append(each)
            else:
                found.append(_spooled(spool, each))
        found += _of_second_names(names, {image.path: image for image in found}, rejected)
        paths = [image.path for image in found]
        layout = read_layout(paths, split_files, [each.path for each in rejected])
        if layout.kind is not LayoutKind.SPLIT_FILE:
            reason = "it does not lie beside the folders of labels, and says nothing of them"
            rejected += [RejectedFile(path, reason) for path in split_files]
        images = []
        for image, place in zip(found, layout.places, strict=True):
            if isinstance(place, Place):
                images.append(replace(image, **vars(place)))
            else:
                rejected.append(RejectedFile(image.path, place))
        return sorted(images, key=lambda image: image.order), layout

    def _stored(
        self, spool: IO[bytes], images: Sequence[_Image], dealt: Sequence[Split], split: SplitSpec
    ) -> DatasetManifest:
        """Store the pack of what is new, and return the manifest of everything."""
        pack = self._blobs.put(_read(spool, image) for image in images if not image.pack)
        labels = tuple(sorted({image.label for image in images}))
        return DatasetManifest(labels, split, tuple(_rows(images, dealt, labels, pack.digest)))


def _rows(images: Sequence[_Image], dealt: Sequence[Split], labels: Sequence[str], pack: str) -> Iterator[DatasetRow]:
    indices = {label: index for index, label in enumerate(labels)}
    packed = 0
    for image, split in zip(images, dealt, strict=True):
        yield DatasetRow(
            path=image.path,
            label=indices[image.label],
            split=split,
            pack=image.pack or pack,
            offset=image.offset if image.pack else packed,
            size=image.size,
            sha256=image.sha256,
            width=image.width,
            height=image.height,
            look=image.look,
        )
        packed += 0 if image.pack else image.size


def _rows_of(parent: Parent) -> list[_Image]:
    manifest = parent.manifest
    return [
        _Image(
            path=row.path,
            label=manifest.labels[row.label],
            split=row.split,
            pack=row.pack,
            offset=row.offset,
            size=row.size,
            sha256=row.sha256,
            width=row.width,
            height=row.height,
            look=row.look,
            colours=None,
        )
        for row in manifest.rows
    ]


def _spooled(spool: IO[bytes], image: GoodImage) -> _Image:
    offset = spool.tell()
    spool.write(image.data)
    return _Image(
        path=image.path,
        label="",
        split=None,
        pack="",
        offset=offset,
        size=len(image.data),
        sha256=hashlib.sha256(image.data).hexdigest(),
        width=image.width,
        height=image.height,
        look=image.look,
        colours=image.colours,
        is_dark=image.is_dark,
    )


def _of_second_names(
    names: Iterable[SecondName], images: Mapping[str, _Image], rejected: list[RejectedFile]
) -> Iterator[_Image]:
    """Yield each image once more under its other name: in another label's folder it has two labels."""
    for each in names:
        if each.target in images:
            yield replace(images[each.target], path=each.path)
        else:
            rejected.append(RejectedFile(each.path, f"a link to {each.target!r}, which is no image before it"))


def _read(spool: IO[bytes], image: _Image) -> bytes:
    spool.seek(image.offset)
    return spool.read(image.size)


def _without_duplicates(
    found: Sequence[_Image], old: Sequence[_Image], parent: str, rejected: list[RejectedFile]
) -> list[_Image]:
    """Keep one of equal files, and none that the parent has; none of those that have different labels.

    Nobody knows which label is right. What the parent has stays as it is.
    """
    known = {image.sha256: f"{image.path} of {parent}" for image in old}
    labels: dict[str, set[str]] = {}
    for image in (*old, *found):
        labels.setdefault(image.sha256, set()).add(image.label)
    kept = []
    for image in sorted(found, key=lambda image: _KEPT_FIRST.index(image.split)):
        if len(labels[image.sha256]) > 1:
            names = ", ".join(sorted(labels[image.sha256]))
            rejected.append(RejectedFile(image.path, f"the same image has different labels: {names}"))
        elif image.sha256 in known:
            rejected.append(RejectedFile(image.path, f"the same image as {known[image.sha256]}"))
        else:
            known[image.sha256] = image.path
            kept.append(image)
    return kept


def _dealt(images: Sequence[_Image], groups: Sequence[int], split: SplitSpec, layout: Layout) -> list[Split]:
    """Return a split for each image; they are sorted by label."""
    dealt: list[Split] = []
    for _, group in groupby(images, key=lambda image: image.label):
        members = list(group)
        dealt += assign_splits(
            [image.sha256 for image in members],
            split,
            groups=groups[len(dealt) : len(dealt) + len(members)],
            fixed=[image.split for image in members],
            held_out=layout.held_out,
        )
    return dealt


def _check_labels(images: Sequence[_Image], new: Sequence[_Image], layout: Layout) -> None:
    """Raise InvalidInput where nothing is new, or for too few labels or images of one."""
    counts = Counter(image.label for image in images)
    if not 2 <= len(counts) <= MAX_LABELS:
        found = "; ".join([f"found {_shown(counts)}" if counts else "found none", *layout.remarks])
        raise _refused(f"must hold 2 to {MAX_LABELS} folders of images, one for each label; {found}")
    if not new:
        raise _refused("holds no image that is not in the parent already")
    if layout.kind is not LayoutKind.LABEL_FOLDERS:
        untrained = counts.keys() - {image.label for image in images if image.split in {None, Split.TRAIN}}
        if untrained:
            raise _refused(f"has no image to train on of {_shown({label: counts[label] for label in untrained})}")
        return
    has_rows = {image.label for image in images if image.split is not None}
    if small := {label: n for label, n in counts.items() if n < MIN_ROWS_PER_LABEL and label not in has_rows}:
        raise _refused(
            f"needs at least {MIN_ROWS_PER_LABEL} different images of each label; too few of {_shown(small)}"
        )


def _check_splits(dealt: Sequence[Split]) -> None:
    for split in Split:
        if split not in dealt:
            raise _refused(f"leaves no image for {split}: give it some, or give more to train on, to deal it from")


def _shown(counts: Mapping[str, int]) -> str:
    shown = [f"{label} ({count})" for label, count in sorted(counts.items())[:20]]
    return ", ".join(shown) + (f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")


def _refused(reason: str) -> InvalidInput:
    return InvalidInput.of("archive", reason)
