"""Turns an upload into a dataset of any modality: reads examples, drops duplicates, assigns the rest and packs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from model_store.blobs import BlobStore
from model_store.errors import InvalidInput
from model_store.tasks import Task
from training_service.datasets.columnar.columns import NO_FACTS, FactColumn, TargetColumn, TextColumn
from training_service.datasets.duplicates import without_duplicates
from training_service.datasets.examples import Example, Examples, ReadExamples, RejectedFile
from training_service.datasets.groups import Groups, joined
from training_service.datasets.manifest import DatasetManifest, RowColumns
from training_service.datasets.modality import Modality
from training_service.datasets.packs import Packs, Spool, write_packs
from training_service.datasets.reading import Asked, Reading, Received
from training_service.datasets.remarks import remarks_on_folders, remarks_on_labels, with_left_out
from training_service.datasets.splits import SPLITS, Split, SplitSpec
from training_service.datasets.summary import summary
from training_service.datasets.targets import TARGETS, TargetsRefused


@dataclass(frozen=True)
class Ingested:
    """A dataset whose blobs are stored and that is not registered yet; `size_bytes` is that of its packs."""

    manifest: DatasetManifest
    digest: str
    size_bytes: int
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Parent:
    """The dataset that an upload is appended to: its rows stay as they are."""

    name: str
    manifest: DatasetManifest
    summary: Mapping[str, Any]


class Ingestor:
    """Makes datasets of uploads, decoding in `threads`; safe to share between uploads."""

    def __init__(self, blobs: BlobStore, threads: Executor, *, max_sizes: Mapping[str, int]) -> None:
        """Take the largest size of an example by modality, in the unit of each."""
        self._blobs = blobs
        self._threads = threads
        self._max_sizes = max_sizes

    def ingest(
        self,
        modality: Modality,
        received: Received,
        split: SplitSpec,
        check_going_on: Callable[[], None],
        *,
        asked: Asked | None = None,
        parent: Parent | None = None,
    ) -> Ingested:
        """Store an upload's examples, and the manifest of them and of the parent's rows.

        Raises InvalidInput naming labels and counts if there are too few, the errors of the modality, each with the
        files that were left out until then, and the errors of `check_going_on`, which is called between examples. No
        dataset is registered then.
        """
        rejected: list[RejectedFile] = []
        with self._blobs.temporary_file() as file:
            reading = Reading(
                received,
                asked or Asked(),
                Spool(file),
                rejected,
                self._threads,
                self._max_sizes[modality.KIND],
                check_going_on,
                parent.manifest if parent is not None else None,
            )
            try:
                return self._ingested(modality, reading, split, parent)
            except TargetsRefused as error:
                raise with_left_out(InvalidInput.of(str(received.format), str(error)), rejected) from error
            except InvalidInput as error:
                raise with_left_out(error, rejected) from error

    def _ingested(self, modality: Modality, reading: Reading, split: SplitSpec, parent: Parent | None) -> Ingested:
        read = modality.read(reading)
        _check_parent(parent, read)
        old = Examples(_rows_of(parent)) if parent is not None else Examples()
        new = _kept(modality, read, old, parent.name if parent is not None else "", reading.rejected)
        examples = new if parent is None else Examples(chain(old, new))
        examples.sort()
        targets = TARGETS[read.task]
        targets.check(examples, read, modality.NOUN, modality.LABELS_ARE)
        if not new:
            raise TargetsRefused(f"holds no {modality.NOUN} that is not in the parent already")
        groups = _groups(modality, read, examples)
        assigned = targets.assign(examples, groups, split, read)
        _check_splits(assigned, modality.NOUN)
        task = targets.make_task(read.names, examples.targets)
        before_it = parent.manifest if parent is not None else None
        packs = write_packs(self._blobs, reading.spool, examples, assigned, before_it)
        rows = _rows(examples, assigned, task, packs)
        targets.check_splits(task, rows)
        manifest = DatasetManifest(modality.KIND, task, split, read.columns, rows, packs.calibration)
        stored = self._blobs.put(manifest.parts())
        before = (len(old), parent.summary["about"]) if parent is not None else None
        own = modality.summarise(manifest, new, read.observed, before)
        remarks = list(_remarks(read, task, examples, reading.rejected))
        told = summary(manifest, groups, own, str(read.split_source), reading.rejected, remarks)
        return Ingested(manifest, stored.digest, sum(self._blobs.sizes(manifest.packs).values()), told)


def _kept(modality: Modality, read: ReadExamples, old: Examples, parent: str, rejected: list[RejectedFile]) -> Examples:
    found = read.examples
    found.sort()
    if not modality.DROPS_DUPLICATES:
        return found
    return Examples(without_duplicates(found, old, parent, modality.NOUN, TARGETS[read.task], rejected))


def _groups(modality: Modality, read: ReadExamples, examples: Examples) -> Groups:
    """Return a number for each example, equal for near duplicates and for those of one group of the user's."""
    near = modality.near_duplicates(
        [TARGETS[read.task].near_key(target) for target in examples.targets],
        examples.sha256,
        examples.facts or [NO_FACTS] * len(examples),
    )
    if examples.groups is None:
        return near
    members: dict[str, int] = {}
    firsts = [members.setdefault(group or f"\0{place}", place) for place, group in enumerate(examples.groups)]
    return joined(near, np.arange(len(examples)), np.array(firsts, np.int64))


def _check_parent(parent: Parent | None, read: ReadExamples) -> None:
    """Raise TargetsRefused where an upload asks something else of its examples than the parent does."""
    if parent is None:
        return
    task = parent.manifest.task
    if read.task != task.kind:
        raise TargetsRefused(f"is for {read.task}, and {parent.name} for {task.kind}: its targets must be of one task")
    if read.names and read.names != task.names:
        names = ", ".join(map(repr, task.names[:_SHOWN_NAMES]))
        raise TargetsRefused(f"must have the labels or targets of {parent.name}, in their order: {names}")


_SHOWN_NAMES = 20


def _rows(examples: Examples, assigned: Sequence[Split], task: Task, packs: Packs) -> RowColumns:
    places = {name: place for place, name in enumerate(task.names)}
    return RowColumns(
        numbers=examples.numbers,
        targets=TargetColumn.of([TARGETS[task.kind].indexed(places, target) for target in examples.targets]),
        splits=np.fromiter(map(SPLITS.index, assigned), np.uint8, len(examples)),
        pack_names=packs.names,
        packs=packs.places,
        offsets=packs.offsets,
        sizes=examples.sizes,
        sha256=examples.sha256,
        paths=TextColumn.of(examples.paths, len(examples)),
        facts=FactColumn.of(examples.facts, len(examples)),
        groups=TextColumn.of(examples.groups, len(examples)),
    )


def _rows_of(parent: Parent) -> Iterator[Example]:
    task = parent.manifest.task
    for row in parent.manifest.rows:
        yield Example(
            path=row.path,
            number=row.number,
            target=TARGETS[task.kind].named(task, row.target),
            split=row.split,
            offset=row.offset,
            size=row.size,
            sha256=row.sha256,
            facts=row.facts,
            pack=row.pack,
            group=row.group,
        )


def _remarks(read: ReadExamples, task: Task, examples: Examples, rejected: Sequence[RejectedFile]) -> Iterator[str]:
    yield from read.remarks
    yield from remarks_on_labels(task.names)
    yield from remarks_on_folders(examples.paths or (), rejected, read.around)


def _check_splits(assigned: Sequence[Split], noun: str) -> None:
    for split in Split:
        if split not in assigned:
            raise TargetsRefused(
                f"leaves no {noun} for {split}: give it some, or give more to train on, to assign it from"
            )
