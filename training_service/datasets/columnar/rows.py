"""The rows of a dataset: an object for each where one is asked for, arrays underneath."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from model_store.tensors.safetensors_header import read_header, write_header
from training_service.datasets.columnar.columns import FactColumn, Target, TargetColumn, TextColumn
from training_service.datasets.columnar.digests import Digests
from training_service.datasets.splits import SPLITS, Split

_NO_BYTES = np.empty(0, np.uint8)
_DTYPES: Mapping[str, str] = {"I64": "<i8", "F64": "<f8", "I32": "<i4", "U32": "<u4", "U8": "|u1"}
_NAMES = {np.dtype(dtype).newbyteorder("="): name for name, dtype in _DTYPES.items()}


def columns_in(data: bytes | mmap.mmap) -> dict[str, NDArray[Any]]:
    """Return the columns of a file that `RowColumns.parts` has written: arrays in its memory, not copied."""
    return {
        name: np.frombuffer(data, _DTYPES[place.dtype], math.prod(place.shape), place.start).reshape(place.shape)
        for name, place in read_header(data).items()
    }


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One example: its origin, its target, its split, and the place of its bytes.

    `path` is the path of its file, or empty; then `number` is its row in the file, from 1. `facts` are data of its
    modality, for example a size. Rows of one `group`, if the user gave groups, are in one split.
    """

    path: str
    number: int
    target: Target
    split: Split
    pack: str
    offset: int
    size: int
    sha256: str
    facts: Mapping[str, Any]
    group: str = ""

    @property
    def source(self) -> str:
        """Where it came from, as a message names it."""
        return self.path or f"row {self.number}"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a row of a manifest of format 2."""
        target = values["target"]
        read = tuple(target) if isinstance(target, list) else target
        return cls(**{**values, "target": read, "split": Split(values["split"])})


@dataclass(frozen=True, eq=False)
class RowColumns(Sequence[DatasetRow]):
    """All rows of a dataset, a column for each field of `DatasetRow`.

    `numbers`, `offsets` and `sizes` are int64 [n], `splits` uint8 [n], places in `SPLITS`; `packs`, uint32 [n], are
    places in `pack_names`.
    """

    numbers: NDArray[np.int64]
    targets: TargetColumn
    splits: NDArray[np.uint8]
    pack_names: tuple[str, ...]
    packs: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sha256: Digests
    paths: TextColumn
    facts: FactColumn
    groups: TextColumn

    @classmethod
    def of(cls, rows: Iterable[DatasetRow]) -> Self:
        """Return the columns of these rows."""
        some = list(rows)
        names: dict[str, int] = {}
        packs = [names.setdefault(row.pack, len(names)) for row in some]
        return cls(
            numbers=np.array([row.number for row in some], np.int64),
            targets=TargetColumn.of([row.target for row in some]),
            splits=np.array([SPLITS.index(row.split) for row in some], np.uint8),
            pack_names=tuple(names),
            packs=np.array(packs, np.uint32),
            offsets=np.array([row.offset for row in some], np.int64),
            sizes=np.array([row.size for row in some], np.int64),
            sha256=Digests.of(row.sha256 for row in some),
            paths=TextColumn.of([row.path for row in some], len(some)),
            facts=FactColumn.of([row.facts for row in some], len(some)),
            groups=TextColumn.of([row.group for row in some], len(some)),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> DatasetRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[DatasetRow]: ...
    def __getitem__(self, place: int | slice) -> DatasetRow | list[DatasetRow]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return DatasetRow(
            path=self.paths[place],
            number=int(self.numbers[place]),
            target=self.targets[place],
            split=SPLITS[self.splits[place]],
            pack=self.pack_names[self.packs[place]],
            offset=int(self.offsets[place]),
            size=int(self.sizes[place]),
            sha256=self.sha256[place],
            facts=self.facts[place],
            group=self.groups[place],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowColumns) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    @property
    def used_packs(self) -> tuple[str, ...]:
        """The packs that hold rows, sorted."""
        return tuple(sorted(self.pack_names[place] for place in np.unique(self.packs)))

    def positions(self, split: Split) -> NDArray[np.int64]:
        """Return the positions of a split's rows."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def counts(self) -> dict[Split, int]:
        """Return the number of rows of each split."""
        return dict(zip(SPLITS, np.bincount(self.splits, minlength=len(SPLITS)).tolist(), strict=True))

    def parts(self, about: bytes) -> Iterator[bytes | memoryview]:
        """Yield the parts of a safetensors file of the columns; `about` is what is said of them all, a tensor of bytes.

        Columns of wide items come first, so that each begins at a multiple of its items' size.
        """
        columns = {**self._columns(), "about": np.frombuffer(about, np.uint8)}
        ordered = dict(sorted(columns.items(), key=lambda each: (-each[1].itemsize, each[0])))
        yield write_header({name: (_NAMES[each.dtype], each.shape) for name, each in ordered.items()})
        for column in ordered.values():
            little = np.ascontiguousarray(column, _DTYPES[_NAMES[column.dtype]])
            yield little.reshape(-1).view(np.uint8).data

    @classmethod
    def read(cls, columns: Mapping[str, NDArray[Any]], pack_names: Sequence[str]) -> Self:
        """Return the rows of the columns that `parts` has written, and `columns_in` read."""
        num_rows = len(columns["number"])

        def texts(name: str) -> TextColumn:
            return TextColumn(num_rows, columns.get(name, _NO_BYTES), columns.get(f"{name}_start"))

        return cls(
            numbers=columns["number"],
            targets=TargetColumn(columns["target"], columns.get("target_start")),
            splits=columns["split"],
            pack_names=tuple(pack_names),
            packs=columns["pack"],
            offsets=columns["offset"],
            sizes=columns["size"],
            sha256=Digests(columns["sha256"]),
            paths=texts("path"),
            facts=FactColumn(texts("facts")),
            groups=texts("group"),
        )

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any] | None] = {
            "number": self.numbers,
            "target": self.targets.values,
            "target_start": self.targets.starts,
            "split": self.splits,
            "pack": self.packs,
            "offset": self.offsets,
            "size": self.sizes,
            "sha256": self.sha256.values,
        }
        for name, texts in (("path", self.paths), ("facts", self.facts.texts), ("group", self.groups)):
            if texts.starts is not None:
                columns |= {name: texts.data, f"{name}_start": texts.starts}
        return {name: column for name, column in columns.items() if column is not None}
