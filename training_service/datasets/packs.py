"""The bytes of a dataset's rows: spooled while an upload is read, packed into blobs, and mapped to be read again."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from model_store.blobs import BlobStore
from model_store.tensors.example_pack import MAX_EXAMPLES, MAX_PACK_BYTES, pack_header, spread
from training_service.datasets.examples import Example, Examples
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
        return self.read_at(example.offset, example.size)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the bytes at a place."""
        self._file.seek(offset)
        return self._file.read(size)


@dataclass(frozen=True)
class Packs:
    """The blobs of all examples, and the one to calibrate by.

    `places`, uint32 [n], are the place in `names` of each example's blob, and `offsets`, int64 [n], where it begins
    there. `calibration` is the digest of that pack; empty where versions are to keep copies of prepared rows.
    """

    names: tuple[str, ...]
    places: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    calibration: str


def write_packs(
    blobs: BlobStore,
    spool: Spool,
    examples: Examples,
    assigned: Sequence[Split],
    parent: DatasetManifest | None,
) -> Packs:
    """Store the bytes of new examples: some test examples in a pack that versions can name, all others in one blob.

    With a parent, its pack to calibrate by stays unless the new test examples make a larger one.
    """
    apart = _to_calibrate_by(examples, assigned, parent)
    is_other = examples.packs == 0
    is_other[apart] = False
    spooled, sizes = examples.offsets, examples.sizes
    names, places, offsets = dict(examples.pack_names), examples.packs.copy(), examples.offsets.copy()
    calibration = parent.calibration if parent is not None else ""
    for positions in (apart, np.flatnonzero(is_other)):
        if not len(positions):
            continue
        header = pack_header(sizes[apart].tolist()) if positions is apart else b""
        data = (spool.read_at(int(spooled[each]), int(sizes[each])) for each in positions)
        pack = blobs.put(chain([header], data)).digest
        calibration = pack if positions is apart else calibration
        places[positions] = names.setdefault(pack, len(names))
        lengths = sizes[positions]
        starts = np.cumsum(lengths)
        starts -= lengths
        starts += len(header)
        offsets[positions] = starts
    return Packs(tuple(names)[1:], places - np.uint32(1), offsets, calibration)


def _to_calibrate_by(
    examples: Examples, assigned: Sequence[Split], parent: DatasetManifest | None
) -> NDArray[np.int64]:
    """Return the positions of an even spread of the new test examples; none where others will do, or they are large."""
    is_test = np.fromiter((split is Split.TEST for split in assigned), np.bool_, len(assigned))
    new = np.flatnonzero(is_test & (examples.packs == 0))
    chosen = new[spread(len(new), MAX_EXAMPLES)]
    if examples.sizes[chosen].sum() > MAX_PACK_BYTES:
        return chosen[:0]
    if parent is None:
        return chosen
    names = parent.rows.pack_names
    num_before = np.count_nonzero(np.array([name == parent.calibration for name in names], np.bool_)[parent.rows.packs])
    return chosen if 0 < num_before < len(chosen) else chosen[:0]


class PackedRows:
    """The bytes of rows: their packs, verified once and then mapped; safe to share between threads."""

    def __init__(self, blobs: BlobStore, packs: Iterable[str]) -> None:
        self._packs: Mapping[str, mmap.mmap] = {pack: blobs.map(pack) for pack in set(packs)}

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
