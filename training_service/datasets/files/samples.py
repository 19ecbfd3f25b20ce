"""The beginning of an upload: by it a modality is found where the caller names none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO

from model_store.errors import InvalidInput
from training_service.datasets.files.archives import ArchiveFile
from training_service.datasets.files.formats import Format
from training_service.datasets.files.table_rows import CellType, TableRow
from training_service.datasets.files.tables import Table

_ROWS = 1000
_FILES = 16


@dataclass(frozen=True)
class UploadSample:
    """The first rows of a table, or the paths of the first files of an archive.

    `types` are the types of columns that the file states, by place.
    """

    format: Format
    columns: Sequence[str] = ()
    types: Mapping[int, CellType] | None = None
    rows: Sequence[TableRow] = ()
    paths: Sequence[str] = ()


def sample_of_table(file: IO[bytes], form: Format) -> UploadSample:
    """Return the first rows of a table; raise InvalidInput where it cannot be read. Leave the file open."""
    table = Table(file, form)
    try:
        rows = list(islice(table.rows(), _ROWS))
    finally:
        table.detach()
    return UploadSample(form, table.columns, table.types, rows)


def sample_of_files(files: Iterator[ArchiveFile]) -> tuple[UploadSample, Iterator[ArchiveFile]]:
    """Return the paths of the first files, and all files from the first one on.

    A fault among the first files is raised when the files are read, after those before it.
    """
    first: list[ArchiveFile] = []
    rest = files
    try:
        for each in islice(files, _FILES):
            first.append(each)  # noqa: PERF402  those before a fault are kept
    except InvalidInput as error:
        rest = _refused(error)
    return UploadSample(Format.ARCHIVE, paths=[each.path for each in first]), chain(first, rest)


def _refused(error: InvalidInput) -> Iterator[ArchiveFile]:
    raise error
    yield  # a generator, which raises where it is read
