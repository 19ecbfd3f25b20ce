"""The bytes of a dataset's rows: spooled while an upload is read, packed into blobs, and mapped to be read again."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from types import TracebackType
from typing import IO, Self

from model_store.blobs import BlobStore
from model_store.tensors.example_pack import MAX_EXAMPLES, MAX_PACK_BYTES, pack_header, spread
from training_service.datasets.examples import Example
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.splits import Split


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


@dataclass(frozen=True)
class Packs:
    """The blobs of new examples: pack and offset of each by its position, and the pack of those to calibrate by.

    `calibration` is the digest of that pack; empty where versions are to keep copies of prepared rows.
    """

    places: Mapping[int, tuple[str, int]]
    calibration: str


def write_packs(
    blobs: BlobStore,
    spool: Spool,
    examples: Sequence[Example],
    assigned: Sequence[Split],
    parent: DatasetManifest | None,
) -> Packs:
    """Store the bytes of new examples: some test examples in a pack that versions can name, all others in one blob.

    With a parent, its pack to calibrate by stays unless the new test examples make a larger one.
    """
    apart = _to_calibrate_by(examples, assigned, parent)
    chosen = frozenset(apart)
    others = [position for position, each in enumerate(examples) if not (each.pack or position in chosen)]
    header = pack_header([examples[position].size for position in apart])
    in_pack = _written(blobs, spool, examples, apart, header)
    if apart:
        calibration, _ = in_pack[apart[0]]
    else:
        calibration = parent.calibration if parent is not None else ""
    return Packs({**in_pack, **_written(blobs, spool, examples, others)}, calibration)


def _written(
    blobs: BlobStore, spool: Spool, examples: Sequence[Example], positions: Sequence[int], header: bytes = b""
) -> dict[int, tuple[str, int]]:
    """Store the examples at these positions as one blob, behind a header; return pack and offset of each."""
    if not positions:
        return {}
    pack = blobs.put(chain([header], (spool.read(examples[each]) for each in positions))).digest
    offsets = accumulate((examples[each].size for each in positions), initial=len(header))
    return {position: (pack, offset) for position, offset in zip(positions, offsets, strict=False)}


def _to_calibrate_by(
    examples: Sequence[Example], assigned: Sequence[Split], parent: DatasetManifest | None
) -> list[int]:
    """Return the positions of an even spread of the new test examples; none where others will do, or they are large."""
    found = enumerate(zip(examples, assigned, strict=True))
    new = [position for position, (each, split) in found if split is Split.TEST and not each.pack]
    chosen = [new[each] for each in spread(len(new), MAX_EXAMPLES)]
    if sum(examples[each].size for each in chosen) > MAX_PACK_BYTES:
        return []
    if parent is None:
        return chosen
    num_before = sum(row.pack == parent.calibration for row in parent.rows)
    return chosen if 0 < num_before < len(chosen) else []


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
