"""The pixels of a dataset: every image a row of one mapped array, decoded by whoever needs it first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from model_store.blobs import BlobStore
from model_store.modalities.image.spec import ImageInputSpec, Pixels, to_pixels
from training_service.arrays.array_cache import ArrayCache
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.packs import PackedRows
from training_service.datasets.splits import Split
from training_service.datasets.targets import TARGETS
from training_service.modalities.image.stored_images import decode_stored

Positions = NDArray[np.int64]

# A future for each row would hold more memory than anything else here.
_ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class LabelledPixels:
    """A decoded dataset: uint8 pixels [n, size, size, 3], labels [n], and the positions of each split's rows."""

    pixels: Pixels
    labels: NDArray[Any]
    positions: Mapping[Split, Positions]

    def labels_of(self, split: Split) -> NDArray[Any]:
        """Return one split's labels."""
        return self.labels[self.positions[split]]


def pixel_key(digest: str, spec: ImageInputSpec) -> str:
    """Name the pixels of a dataset: what they depend on, so not the spec's mean and std, but who decoded them."""
    return f"{digest}-{spec.resize_size}-{spec.crop_size}-{spec.interpolation}-reduced-pillow-{PIL.__version__}"


def decode_dataset(
    blobs: BlobStore,
    digest: str,
    manifest: DatasetManifest,
    spec: ImageInputSpec,
    *,
    cache: ArrayCache,
    threads: Executor,
    max_pixels: int,
    on_rows: Callable[[int], None],
) -> LabelledPixels:
    """Return all images of the dataset with this digest as the input spec prepares them, read only.

    They come from the cache, or else are decoded into it; `on_rows` is told, again and again, how many are done. Raises
    DamagedStore, naming the image, for one that cannot be decoded.
    """
    rows = manifest.rows

    def fill(pixels: Pixels) -> None:
        with PackedRows(blobs, rows) as packs:

            def decode(start: int) -> int:
                end = min(start + _ROWS_AT_ONCE, len(rows))
                for position in range(start, end):
                    row, short_edge = rows[position], spec.resize_size
                    image = decode_stored(packs, row, max_pixels=max_pixels, short_edge=short_edge)
                    pixels[position] = to_pixels(image, spec)
                return end

            for num_done in threads.map(decode, range(0, len(rows), _ROWS_AT_ONCE)):
                on_rows(num_done)

    shape = (len(rows), spec.crop_size, spec.crop_size, 3)
    pixels = cache.load(pixel_key(digest, spec), shape, np.uint8, fill)
    on_rows(len(rows))
    return LabelledPixels(pixels, TARGETS[manifest.task.kind].array(manifest.task, rows), _positions(manifest))


def _positions(manifest: DatasetManifest) -> dict[Split, Positions]:
    splits = np.array([row.split for row in manifest.rows])
    return {split: np.flatnonzero(splits == split) for split in Split}
