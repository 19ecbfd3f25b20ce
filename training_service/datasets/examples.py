"""The result of a modality's reader: examples with their targets, and the files that were left out."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from training_service.datasets.columnar.columns import NO_FACTS
from training_service.datasets.columnar.digests import Digests
from training_service.datasets.columns import Column
from training_service.datasets.splits import HELD_OUT, SPLITS, Split, SplitSource

T = TypeVar("T")
_SPLITS: Sequence[Split | None] = (None, *SPLITS)
_SPLIT_NUMBERS = {split: number for number, split in enumerate(_SPLITS)}

NamedTarget: TypeAlias = str | tuple[str, ...] | tuple[float, ...]
"""A target as people write it: a label, the labels of an example in their order, or a number for each target."""


@dataclass(frozen=True)
class RejectedFile:
    """A file that is not part of the dataset, and why."""

    path: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Example:
    """One example that may become a row.

    It came from the file at `path`, or from the row `number` of a file, counted from 1. Its bytes lie in the spool at
    `offset`, or, for a row of the parent, in the blob `pack`. Examples of one `group` go to one split. `facts` are data
    of the modality that are kept with the row.
    """

    path: str
    number: int
    target: NamedTarget
    split: Split | None
    offset: int
    size: int
    sha256: str
    facts: Mapping[str, Any]
    pack: str = ""
    group: str = ""

    @property
    def source(self) -> str:
        """Where it came from, as a message names it."""
        return self.path or f"row {self.number}"


class Examples(Sequence[Example]):
    """Examples as columns: an object for each is made where it is asked for.

    Paths, groups and facts take memory only if some example has one. `targets` are those of all, in their order.
    """

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        self.targets: list[NamedTarget] = []
        self.pack_names: dict[str, int] = {"": 0}
        self._numbers, self._offsets, self._sizes = array("q"), array("q"), array("q")
        self._sha256, self._splits, self._packs = bytearray(), bytearray(), array("I")
        self._paths, self._groups, self._facts = _Rare(""), _Rare(""), _Rare(NO_FACTS)
        self.extend(examples)

    def append(self, example: Example) -> None:
        """Add an example behind the others."""
        self._paths.append(example.path, len(self))
        self._groups.append(example.group, len(self))
        self._facts.append(example.facts, len(self))
        self._numbers.append(example.number)
        self._offsets.append(example.offset)
        self._sizes.append(example.size)
        self._sha256 += bytes.fromhex(example.sha256)
        self._splits.append(_SPLIT_NUMBERS[example.split])
        self._packs.append(self.pack_names.setdefault(example.pack, len(self.pack_names)))
        self.targets.append(example.target)

    def extend(self, examples: Iterable[Example]) -> None:
        """Add examples behind the others."""
        for example in examples:
            self.append(example)

    def set_targets(self, targets: list[NamedTarget], splits: Sequence[Split | None]) -> None:
        """Give each example its target and its split."""
        if not len(targets) == len(splits) == len(self):
            raise ValueError(f"{len(targets)} targets and {len(splits)} splits for {len(self)} examples")
        self.targets = targets
        self._splits = bytearray(map(_SPLIT_NUMBERS.__getitem__, splits))

    def sort(self) -> None:
        """Put examples in the order of rows: by the label, if each has one, then by the origin."""
        keys = [self.sha256.words[:, 0], self.numbers]
        if self._paths.values is not None:
            keys.append(_places(self._paths.values))
        if all(isinstance(target, str) for target in self.targets):
            keys.append(_places(self.targets))
        order = np.lexsort(keys)
        for column in (self.numbers, self.offsets, self.sizes, self.sha256.values, self.packs, self._split_numbers):
            column[:] = column[order]
        for rare in (self._paths, self._groups, self._facts):
            rare.values = None if rare.values is None else [rare.values[place] for place in order]
        self.targets = [self.targets[place] for place in order]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The row of each in its file, int64 [n]; no example can be added while an array of a column is held."""
        return np.frombuffer(self._numbers, np.int64)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where the bytes of each begin, int64 [n]."""
        return np.frombuffer(self._offsets, np.int64)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The number of bytes of each, int64 [n]."""
        return np.frombuffer(self._sizes, np.int64)

    @property
    def packs(self) -> NDArray[np.uint32]:
        """The pack of each by its number in `pack_names`, 0 for the spool, uint32 [n]."""
        return np.frombuffer(self._packs, np.uint32)

    @property
    def sha256(self) -> Digests:
        """The digest of each."""
        return Digests(np.frombuffer(self._sha256, np.uint8))

    @property
    def splits(self) -> list[Split | None]:
        """The split of each that has one."""
        return [_SPLITS[number] for number in self._splits]

    @property
    def paths(self) -> Sequence[str] | None:
        """The path of each; None where no example has one."""
        return self._paths.values

    @property
    def groups(self) -> Sequence[str] | None:
        """The user's group of each; None where no example has one."""
        return self._groups.values

    @property
    def facts(self) -> Sequence[Mapping[str, Any]] | None:
        """The facts of each; None where no example has any."""
        return self._facts.values

    @property
    def _split_numbers(self) -> NDArray[np.uint8]:
        return np.frombuffer(self._splits, np.uint8)

    def __len__(self) -> int:
        return len(self.targets)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return Example(
            path=self._paths[place],
            number=self._numbers[place],
            target=self.targets[place],
            split=_SPLITS[self._splits[place]],
            offset=self._offsets[place],
            size=self._sizes[place],
            sha256=self.sha256[place],
            facts=self._facts[place],
            pack=next(name for name, number in self.pack_names.items() if number == self._packs[place]),
            group=self._groups[place],
        )


class _Rare(Generic[T]):
    """A column whose cells are all `blank`, and kept once, until one is not."""

    def __init__(self, blank: T) -> None:
        self._blank = blank
        self.values: list[T] | None = None

    def append(self, value: T, num_before: int) -> None:
        if self.values is None and value != self._blank:
            self.values = [self._blank] * num_before
        if self.values is not None:
            self.values.append(value)

    def __getitem__(self, place: int) -> T:
        return self._blank if self.values is None else self.values[place]


def _places(texts: Sequence[NamedTarget]) -> NDArray[np.int64]:
    """Return the place of each text in the order of all."""
    places = {text: place for place, text in enumerate(sorted(map(str, set(texts))))}
    return np.fromiter((places[str(text)] for text in texts), np.int64, len(texts))


@dataclass(frozen=True)
class ReadExamples:
    """All examples of an upload, of one task.

    `names` are the labels or targets in the upload's order; empty if only the examples' labels are known. Rows without
    a fixed split are assigned to the splits in `held_out` and to training. `around` is the path of the folders around
    everything. `observed` is data of the modality for its summary.
    """

    examples: Examples
    task: str
    names: tuple[str, ...]
    split_source: SplitSource
    held_out: Collection[Split] = HELD_OUT
    columns: tuple[Column, ...] = ()
    around: str = ""
    remarks: tuple[str, ...] = ()
    observed: Any = None
