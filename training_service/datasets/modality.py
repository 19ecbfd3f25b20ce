"""The protocol of a modality for datasets: examples are read, compared, summarised, shown and prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from training_service.datasets.examples import Example, ReadExamples
from training_service.datasets.files.formats import Format
from training_service.datasets.files.samples import UploadSample
from training_service.datasets.groups import Groups
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.packs import PackedRows
from training_service.datasets.reading import Asked, Reading

Shown = bytes | tuple[float, ...] | str | Mapping[str, str]
"""The visible form of a row: a JPEG's bytes, its first numbers, the beginning of a text, or cells by column."""


@dataclass(frozen=True)
class Remarked:
    """A modality's own part of a dataset's summary, as plain JSON values, and remarks on probable mistakes."""

    summary: Mapping[str, Any]
    remarks: Sequence[str] = ()


class Modality(Protocol):
    """One modality; a package of functions."""

    KIND: str
    NOUN: str
    """The name of one example: `image`, `row`."""
    LABELS_ARE: str
    """How labels are given, in the plural, after a number."""
    FORMATS: frozenset[Format]
    """The accepted forms of an upload: see `datasets.files.formats`."""
    DROPS_DUPLICATES: bool
    """Whether the second of two examples with the same bytes is left out."""

    def takes(self, sample: UploadSample, asked: Asked) -> bool:
        """Say whether an upload of one of its formats is taken for its own, where the caller names no modality."""
        ...

    def read(self, reading: Reading) -> ReadExamples:
        """Read an upload into the spool; raise InvalidInput where it cannot be used."""
        ...

    def near_duplicates(
        self, keys: Sequence[str], digests: Sequence[str], facts: Sequence[Mapping[str, Any]]
    ) -> Groups:
        """Return a number for each example, equal for near duplicates of one key."""
        ...

    def preview(self, packs: PackedRows, row: DatasetRow, edge: int) -> Shown:
        """Return the visible form of a row: a picture of at most `edge` pixels, or its content."""
        ...

    def summarise(
        self,
        manifest: DatasetManifest,
        new: Sequence[Example],
        observed: Any,  # noqa: ANN401  its own `read` has returned it
        parent: tuple[int, Mapping[str, Any]] | None,
    ) -> Remarked:
        """Sum up a dataset; `parent` is the number of rows that were there before, and their summary."""
        ...
