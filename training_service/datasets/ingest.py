"""Turns an upload into a dataset of any modality: reads examples, drops duplicates, assigns the rest and packs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.blobs import BlobStore
from model_store.errors import InvalidInput
from model_store.tasks import Task
from training_service.datasets.duplicates import without_duplicates
from training_service.datasets.examples import Example, ReadExamples, RejectedFile
from training_service.datasets.groups import Groups, joined
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.modality import Modality
from training_service.datasets.packs import Packs, Spool, write_packs
from training_service.datasets.reading import Asked, Reading, Received
from training_service.datasets.remarks import remarks_on_folders, remarks_on_labels, with_left_out
from training_service.datasets.splits import Split, SplitSpec
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
        old = list(_rows_of(parent)) if parent is not None else []
        new = _kept(modality, read, old, parent.name if parent is not None else "", reading.rejected)
        examples = sorted(old + new, key=_order)
        targets = TARGETS[read.task]
        targets.check(examples, read, modality.NOUN, modality.LABELS_ARE)
        if not new:
            raise TargetsRefused(f"holds no {modality.NOUN} that is not in the parent already")
        groups = _groups(modality, read, examples)
        assigned = targets.assign(examples, groups.tolist(), split, read)
        _check_splits(assigned, modality.NOUN)
        task = targets.make_task(read.names, [example.target for example in examples])
        before_it = parent.manifest if parent is not None else None
        packs = write_packs(self._blobs, reading.spool, examples, assigned, before_it)
        rows = tuple(_rows(examples, assigned, task, packs))
        targets.check_splits(task, rows)
        manifest = DatasetManifest(modality.KIND, task, split, read.columns, rows, packs.calibration)
        stored = self._blobs.put(manifest.json_parts())
        before = (len(old), parent.summary["about"]) if parent is not None else None
        own = modality.summarise(manifest, new, read.observed, before)
        remarks = list(_remarks(read, task, examples, reading.rejected))
        told = summary(manifest, groups, own, str(read.split_source), reading.rejected, remarks)
        return Ingested(manifest, stored.digest, sum(self._blobs.sizes(manifest.packs).values()), told)


def _kept(
    modality: Modality, read: ReadExamples, old: Sequence[Example], parent: str, rejected: list[RejectedFile]
) -> list[Example]:
    found = sorted(read.examples, key=_order)
    if not modality.DROPS_DUPLICATES:
        return found
    return without_duplicates(found, old, parent, modality.NOUN, TARGETS[read.task], rejected)


def _groups(modality: Modality, read: ReadExamples, examples: Sequence[Example]) -> Groups:
    """Return a number for each example, equal for near duplicates and for those of one group of the user's."""
    near = modality.near_duplicates(
        [TARGETS[read.task].near_key(example.target) for example in examples],
        [example.sha256 for example in examples],
        [example.facts for example in examples],
    )
    if not any(each.group for each in examples):
        return near
    members: dict[str, int] = {}
    firsts = [members.setdefault(each.group or f"\0{place}", place) for place, each in enumerate(examples)]
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


def _order(example: Example) -> tuple[str, str, int, str]:
    """Return the sort key of rows: the label, if each row has one, then the origin."""
    label = example.target if isinstance(example.target, str) else ""
    return label, example.path, example.number, example.sha256


def _rows(examples: Sequence[Example], assigned: Sequence[Split], task: Task, packs: Packs) -> Iterator[DatasetRow]:
    places = {name: place for place, name in enumerate(task.names)}
    for position, (example, split) in enumerate(zip(examples, assigned, strict=True)):
        pack, offset = packs.places.get(position, (example.pack, example.offset))
        yield DatasetRow(
            path=example.path,
            number=example.number,
            target=TARGETS[task.kind].indexed(places, example.target),
            split=split,
            pack=pack,
            offset=offset,
            size=example.size,
            sha256=example.sha256,
            facts=example.facts,
            group=example.group,
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


def _remarks(
    read: ReadExamples, task: Task, examples: Sequence[Example], rejected: Sequence[RejectedFile]
) -> Iterator[str]:
    yield from read.remarks
    yield from remarks_on_labels(task.names)
    yield from remarks_on_folders((example.path for example in examples), rejected, read.around)


def _check_splits(assigned: Sequence[Split], noun: str) -> None:
    for split in Split:
        if split not in assigned:
            raise TargetsRefused(
                f"leaves no {noun} for {split}: give it some, or give more to train on, to assign it from"
            )
