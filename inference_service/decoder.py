"""Turns a request's images into rows of pixels, in threads: Pillow lets go of the interpreter while it decodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
from PIL import Image

from model_store.errors import InvalidImage, InvalidInput, Violation
from model_store.inputs import MAX_ASPECT, ImageInputSpec, Pixels, decode_image, to_pixels


class Decoder:
    """Decodes, resizes and crops images in `threads`; none may have more than `max_pixels`."""

    def __init__(self, threads: Executor, *, max_pixels: int) -> None:
        self._threads = threads
        self._max_pixels = max_pixels

    async def rows(
        self, images: Sequence[bytes | Pixels], spec: ImageInputSpec, field_of: Callable[[int], str]
    ) -> Pixels:
        """Return uint8 [n, crop_size, crop_size, 3] of encoded images or raw ones, uint8 [h, w, 3].

        Raises InvalidInput that names every image that cannot be used, by its number.
        """
        loop = asyncio.get_running_loop()
        jobs = [
            loop.run_in_executor(self._threads, self._row, image, spec, field_of(index))
            for index, image in enumerate(images)
        ]
        rows = await asyncio.gather(*jobs)
        if violations := [row for row in rows if isinstance(row, Violation)]:
            raise InvalidInput(*violations)
        return np.stack([row for row in rows if not isinstance(row, Violation)])

    def _row(self, image: bytes | Pixels, spec: ImageInputSpec, field: str) -> Pixels | Violation:
        try:
            return to_pixels(self._opened(image), spec)
        except InvalidImage as error:
            return Violation(field, str(error))

    def _opened(self, image: bytes | Pixels) -> Image.Image:
        if isinstance(image, bytes):
            return decode_image(image, max_pixels=self._max_pixels)
        return self._raw_image(image)

    def _raw_image(self, pixels: Pixels) -> Image.Image:
        height, width = pixels.shape[:2]
        if height * width > self._max_pixels:
            raise InvalidImage(f"{width} x {height} pixels are over the limit of {self._max_pixels} pixels")
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise InvalidImage(f"{width} x {height} pixels: one edge is over {MAX_ASPECT} times the other")
        return Image.fromarray(pixels)
