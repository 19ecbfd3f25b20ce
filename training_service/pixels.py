"""Decodes a dataset once: every image becomes a row of one mapped array, which all later passes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model_store.blobs import BlobStore
from model_store.inputs import ImageInputSpec, Pixels, decode_image, to_pixels
from training_service.datasets import DatasetManifest, DatasetRow, EncodedImages
from training_service.scratch import mapped_array
from training_service.splits import Split

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledPixels:
    """A decoded dataset: uint8 pixels [n, size, size, 3], labels [n], and the positions of each split's rows."""

    pixels: Pixels
    labels: NDArray[np.int64]
    positions: Mapping[Split, Positions]

    def labels_of(self, split: Split) -> NDArray[np.int64]:
        """Return one split's labels."""
        return self.labels[self.positions[split]]


def decode_dataset(
    blobs: BlobStore,
    manifest: DatasetManifest,
    spec: ImageInputSpec,
    *,
    folder: Path,
    threads: Executor,
    max_pixels: int,
    on_rows: Callable[[int], None],
) -> LabelledPixels:
    """Decode all images by the input spec, into `folder`; `on_rows` is told, after each image, how many are done."""
    rows = manifest.rows
    shape = (len(rows), spec.crop_size, spec.crop_size, 3)
    pixels = cast("Pixels", mapped_array(folder, shape, np.uint8))

    with EncodedImages(blobs, rows) as images:

        def decode(position: int, row: DatasetRow) -> None:
            pixels[position] = to_pixels(decode_image(images.read(row), max_pixels=max_pixels), spec)

        for num_done, _ in enumerate(threads.map(decode, range(len(rows)), rows), start=1):
            on_rows(num_done)
    return LabelledPixels(pixels, np.array([row.label for row in rows]), _positions(manifest))


def _positions(manifest: DatasetManifest) -> dict[Split, Positions]:
    splits = np.array([row.split for row in manifest.rows])
    return {split: np.flatnonzero(splits == split) for split in Split}
