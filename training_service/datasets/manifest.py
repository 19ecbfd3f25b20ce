"""A dataset as two kinds of blobs: packs of its rows' bytes, and a manifest whose digest names the dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from model_store.blobs import BlobStore
from model_store.errors import DamagedStore
from model_store.manifests import canonical_json
from model_store.tasks import Task, read_task
from training_service.datasets.columns import Column
from training_service.datasets.splits import Split, SplitSpec

FORMAT = 2
_ROWS_AT_ONCE = 1024

Target: TypeAlias = int | tuple[int, ...] | tuple[float, ...]
"""A row's target: the index of its label, the indices of its labels, or a number for each of the task's targets."""


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

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "target": list(self.target) if isinstance(self.target, tuple) else self.target}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes."""
        target = values["target"]
        read = tuple(target) if isinstance(target, list) else target
        return cls(**{**values, "target": read, "split": Split(values["split"])})


@dataclass(frozen=True)
class DatasetManifest:
    """The description of a dataset; rows are in the order of label, if each has one, then of path and number.

    `columns` are the columns of its table; none for a dataset of files. `calibration` is the pack of test rows by which
    versions are calibrated (see `model_store/tensors/example_pack.py`); empty without one.
    """

    modality: str
    task: Task
    split: SplitSpec
    columns: tuple[Column, ...]
    rows: tuple[DatasetRow, ...]
    calibration: str = ""

    @property
    def packs(self) -> tuple[str, ...]:
        """The blobs that hold its rows."""
        return tuple(sorted({row.pack for row in self.rows}))

    def json_parts(self) -> Iterator[bytes]:
        """Yield the parts of the canonical form, whose SHA-256 is the dataset's digest.

        The values of all rows at once would take many times the memory of the rows.
        """
        values: dict[str, Any] = {
            "format": FORMAT,
            "modality": self.modality,
            "task": self.task.to_json(),
            "split": self.split.to_json(),
            "columns": [column.to_json() for column in self.columns],
            "rows": [],
            **({"calibration": self.calibration} if self.calibration else {}),
        }
        keys = sorted(values)
        place = keys.index("rows")
        yield canonical_json({key: values[key] for key in keys[:place]})[:-1] + b',"rows":['
        for start in range(0, len(self.rows), _ROWS_AT_ONCE):
            rows = self.rows[start : start + _ROWS_AT_ONCE]
            yield (b"," if start else b"") + b",".join(canonical_json(row.to_json()) for row in rows)
        yield b"]," + canonical_json({key: values[key] for key in keys[place + 1 :]})[1:]

    @classmethod
    def from_json(cls, data: bytes | bytearray) -> Self:
        """Read the form that `json_parts` writes; raise DamagedStore for the format of another release."""
        values = json.loads(data)
        if values["format"] != FORMAT:
            raise DamagedStore(f"a dataset has format {values['format']}: this release of maas reads {FORMAT}")
        return cls(
            modality=values["modality"],
            task=read_task(values["task"]),
            split=SplitSpec.from_json(values["split"]),
            columns=tuple(map(Column.from_json, values["columns"])),
            rows=tuple(map(DatasetRow.from_json, values["rows"])),
            calibration=values.get("calibration", ""),
        )


def read_manifest(blobs: BlobStore, digest: str) -> DatasetManifest:
    """Return a dataset's manifest, verified; raise MissingBlob or CorruptBlob."""
    return DatasetManifest.from_json(blobs.read(digest))
