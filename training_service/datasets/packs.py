"""The bytes of a dataset's rows: spooled while an upload is read, packed into blobs, and mapped to be read again."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from model_store.blobs import BlobStore
from training_service.datasets.examples import Example
from training_service.datasets.manifest import DatasetRow


@dataclass(frozen=True, slots=True)
class Spooled:
    """Where an example's bytes lie in the spool, and their digest."""

    offset: int
    size: int
    sha256: str


class Spool:
    """The bytes of new examples in a temporary file, one behind the other."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0

    def add(self, data: bytes) -> Spooled:
        """Write an example's bytes."""
        self._file.seek(self._end)
        self._file.write(data)
        spooled = Spooled(self._end, len(data), hashlib.sha256(data).hexdigest())
        self._end += len(data)
        return spooled

    def read(self, example: Example) -> bytes:
        """Return an example's bytes."""
        self._file.seek(example.offset)
        return self._file.read(example.size)


class PackedRows:
    """The bytes of rows: their packs, verified once and then mapped; safe to share between threads."""

    def __init__(self, blobs: BlobStore, rows: Sequence[DatasetRow]) -> None:
        self._packs: Mapping[str, mmap.mmap] = {pack: blobs.map(pack) for pack in {row.pack for row in rows}}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pack in self._packs.values():
            pack.close()

    def read(self, row: DatasetRow) -> bytes:
        """Return the bytes of one row."""
        return self._packs[row.pack][row.offset : row.offset + row.size]
