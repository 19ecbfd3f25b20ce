"""One upload for the reader of a modality: its files, the caller's options, and the spool for examples' bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import IO

from training_service.datasets.columns import ColumnRole, ColumnType
from training_service.datasets.examples import RejectedFile
from training_service.datasets.files.archives import ArchiveFile
from training_service.datasets.files.formats import Format
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.packs import Spool


@dataclass(frozen=True)
class Received:
    """The uploaded data, or the data at a URL: the files of an archive or a folder, or one file with a table."""

    format: Format
    files: Iterator[ArchiveFile] = field(default_factory=lambda: iter(()))
    table: IO[bytes] = field(default_factory=io.BytesIO)


@dataclass(frozen=True)
class Asked:
    """The caller's options: the kind of the task, the uses and the types of columns; empty if the data decides."""

    task: str = ""
    roles: Sequence[tuple[str, ColumnRole]] = ()
    types: Sequence[tuple[str, ColumnType]] = ()


@dataclass(frozen=True)
class Reading:
    """One upload while it is read.

    `rejected` grows by the files that are left out. `check_going_on` is called between examples and ends the reading by
    raising. `parent` is the dataset that the upload is appended to.
    """

    received: Received
    asked: Asked
    spool: Spool
    rejected: list[RejectedFile]
    threads: Executor
    max_size: int
    check_going_on: Callable[[], None]
    parent: DatasetManifest | None = None
    max_examples: int = 500_000

    @property
    def task(self) -> str:
        """The kind of the task: as it was asked for, or that of the parent; empty where the data has to say it."""
        return self.asked.task or (self.parent.task.kind if self.parent is not None else "")
