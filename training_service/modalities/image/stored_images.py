"""Decodes the images of a dataset, which were decoded once when they came."""

from __future__ import annotations

import io

from PIL import Image

from model_store.errors import DamagedStore, InvalidExample
from model_store.modalities.image.decoding import decode_image
from training_service.datasets.manifest import DatasetRow
from training_service.datasets.packs import PackedRows

_QUALITY = 85


def preview(packs: PackedRows, row: DatasetRow, edge: int) -> bytes:
    """Return a JPEG with at most `edge` pixels on its longer edge; raise DamagedStore as `decode_stored` does."""
    image = decode_stored(packs, row, max_pixels=row.facts["width"] * row.facts["height"])
    image.thumbnail((edge, edge))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def decode_stored(packs: PackedRows, row: DatasetRow, *, max_pixels: int, short_edge: int = 0) -> Image.Image:
    """Return one image as decode_image does; raise DamagedStore, naming it, where this machine cannot decode it."""
    try:
        return decode_image(packs.read(row), max_pixels=max_pixels, short_edge=short_edge)
    except InvalidExample as error:
        raise DamagedStore(
            f"the dataset's image {row.path!r} was decoded when it came, and is not here: {error}"
        ) from error
