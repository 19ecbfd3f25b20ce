"""A dataset as two kinds of blobs: packs of its rows' bytes, and a manifest whose digest names the dataset."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from model_store.blobs import BlobStore
from model_store.errors import DamagedStore
from model_store.manifests import canonical_json
from model_store.tasks import Task, read_task
from training_service.datasets.columnar.columns import Target
from training_service.datasets.columnar.rows import DatasetRow, RowColumns, columns_in
from training_service.datasets.columns import Column
from training_service.datasets.splits import SplitSpec

FORMAT = 3
_OLD_FORMAT = 2
_BRACE = b"{"

__all__ = ["FORMAT", "DatasetManifest", "DatasetRow", "RowColumns", "Target", "read_manifest"]


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
    rows: RowColumns
    calibration: str = ""

    @property
    def packs(self) -> tuple[str, ...]:
        """The blobs that hold its rows."""
        return self.rows.used_packs

    def parts(self) -> Iterator[bytes | memoryview]:
        """Yield the parts of the stored form, a safetensors file whose SHA-256 is the dataset's digest.

        Its tensor `about` is canonical JSON of all but the rows; each other tensor is a column of the rows.
        """
        about = {
            "format": FORMAT,
            "modality": self.modality,
            "task": self.task.to_json(),
            "split": self.split.to_json(),
            "columns": [column.to_json() for column in self.columns],
            "packs": self.rows.pack_names,
            "calibration": self.calibration,
        }
        return self.rows.parts(canonical_json(about))

    @classmethod
    def read(cls, data: bytes | mmap.mmap) -> Self:
        """Read the form that `parts` writes, and format 2; raise DamagedStore for the format of another release.

        Columns stay in the memory of `data`. Format 2 is JSON, with an object for each row.
        """
        if data[: len(_BRACE)] == _BRACE:  # the size of a header is a multiple of 8, and a brace is none
            values = json.loads(bytes(data[:]))
            if values["format"] != _OLD_FORMAT:
                raise _unreadable(values["format"])
            return cls._of(values, RowColumns.of(map(DatasetRow.from_json, values["rows"])))
        columns = columns_in(data)
        about = json.loads(columns.pop("about").tobytes())
        if about["format"] != FORMAT:
            raise _unreadable(about["format"])
        return cls._of(about, RowColumns.read(columns, about["packs"]))

    @classmethod
    def _of(cls, about: Mapping[str, Any], rows: RowColumns) -> Self:
        return cls(
            modality=about["modality"],
            task=read_task(about["task"]),
            split=SplitSpec.from_json(about["split"]),
            columns=tuple(map(Column.from_json, about["columns"])),
            rows=rows,
            calibration=about.get("calibration", ""),
        )


def _unreadable(form: object) -> DamagedStore:
    return DamagedStore(f"a dataset has format {form}: this release of maas reads {_OLD_FORMAT} and {FORMAT}")


def read_manifest(blobs: BlobStore, digest: str) -> DatasetManifest:
    """Return a dataset's manifest, verified and mapped; raise MissingBlob or CorruptBlob."""
    return DatasetManifest.read(blobs.map(digest))
