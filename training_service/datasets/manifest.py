"""A dataset of images as two kinds of blobs: packs of encoded images, and a manifest whose digest names the dataset."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from PIL import Image

from model_store.blobs import BlobStore
from model_store.errors import DamagedStore, InvalidExample
from model_store.manifests import canonical_json
from model_store.modalities.image.decoding import decode_image
from training_service.datasets.splits import Split, SplitSpec

FORMAT = 1
KIND = "images"


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One encoded image: where it came from, its label's index, its split, where its bytes are, and how it looks."""

    path: str
    label: int
    split: Split
    pack: str
    offset: int
    size: int
    sha256: str
    width: int
    height: int
    look: str


@dataclass(frozen=True)
class DatasetManifest:
    """What a dataset is; labels are sorted, rows are in the order of label and path."""

    labels: tuple[str, ...]
    split: SplitSpec
    rows: tuple[DatasetRow, ...]

    def to_json(self) -> bytes:
        """Return the canonical form, whose SHA-256 is the dataset's digest."""
        return canonical_json(
            {
                "format": FORMAT,
                "kind": KIND,
                "labels": list(self.labels),
                "split": self.split.to_json(),
                "rows": [asdict(row) for row in self.rows],
            }
        )

    @classmethod
    def from_json(cls, data: bytes | bytearray) -> Self:
        """Read what `to_json` wrote; raise DamagedStore for the format of another release."""
        values = json.loads(data)
        if (values["format"], values["kind"]) != (FORMAT, KIND):
            raise DamagedStore(
                f"a dataset has format {values['format']} of {values['kind']!r}: upgrade maas to read it"
            )
        rows = tuple(DatasetRow(**{**row, "split": Split(row["split"])}) for row in values["rows"])
        return cls(tuple(values["labels"]), SplitSpec.from_json(values["split"]), rows)


def read_manifest(blobs: BlobStore, digest: str) -> DatasetManifest:
    """Return a dataset's manifest, verified; raise MissingBlob or CorruptBlob."""
    return DatasetManifest.from_json(blobs.read(digest))


class EncodedImages:
    """The bytes of a dataset's images: its packs, verified once and then mapped; safe to share between threads."""

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
        """Return one encoded image."""
        return self._packs[row.pack][row.offset : row.offset + row.size]

    def decode(self, row: DatasetRow, *, max_pixels: int, short_edge: int = 0) -> Image.Image:
        """Return one image as decode_image does; raise DamagedStore, naming it, where this machine cannot decode it."""
        try:
            return decode_image(self.read(row), max_pixels=max_pixels, short_edge=short_edge)
        except InvalidExample as error:
            raise DamagedStore(
                f"the dataset's image {row.path!r} was decoded when it came, and is not here: {error}"
            ) from error
