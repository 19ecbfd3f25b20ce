"""Decodes images into upright RGB, bounded before any pixel is decoded; a decoder's errors are the file's fault."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model_store.errors import InvalidExample

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# Resizing the shorter edge stretches the longer one with it: a line of 1 x 1,000,000 pixels would take 200 GB.
MAX_ASPECT = 64
_WHITE = (255, 255, 255, 255)
_REDUCED_EDGES = 2  # how many times the wanted edge a reduced image has at least: what resizing makes of it is the same
_STRIP_LINES = 256
# What EXIF's orientation asks for. Not ImageOps.exif_transpose: it also rewrites EXIF and XMP, and raises where they
# are damaged, though the photo is fine.
_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_REASON = 200
# Cameras and scanners of 12 bits write their values as they are into files of 16.
_MAX_OF_12_BITS, _MAX_OF_16_BITS = 4095, 65535


def decode_image(data: bytes, *, max_pixels: int, short_edge: int = 0) -> Image.Image:
    """Decode PNG, JPEG, WebP, GIF (first frame), BMP or TIFF (first page) into an upright RGB image.

    Alpha is composited on white; grey, palette, CMYK and 16-bit images are converted, 16-bit grey without a value above
    4095 as 12-bit grey. Raise InvalidExample, saying why, for anything else, for a truncated file, and, before a pixel
    is decoded, for more than `max_pixels` or for edges more than MAX_ASPECT apart. Nothing else is raised: whatever a
    decoder fails with is the fault of these bytes.

    With `short_edge`, to which the image is to be resized, a JPEG that is far larger is decoded at a half, a quarter or
    an eighth of its size, but never to less than twice that edge: it takes a fraction of the memory and of the time.
    """
    return decoded(open_image(data, max_pixels=max_pixels, short_edge=short_edge))


def open_image(data: bytes, *, max_pixels: int, short_edge: int = 0) -> Image.Image:
    """Return an image of which no pixel is decoded, in the size that it will have then; see decode_image."""
    with _naming_faults():
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_size(image, max_pixels)
        if short_edge:
            image.draft(None, (_REDUCED_EDGES * short_edge, _REDUCED_EDGES * short_edge))
        return image


def decoded(image: Image.Image) -> Image.Image:
    """Return an opened image upright in RGB; see decode_image."""
    with _naming_faults():
        image.load()
        return _flattened(_upright(image))


@contextmanager
def _naming_faults() -> Iterator[None]:
    """Raise InvalidExample for whatever a decoder raises."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise InvalidExample(f"not an image in one of the formats {', '.join(FORMATS)}") from error
    except InvalidExample:
        raise
    except Exception as error:  # decoders of damaged files fail with any error, an AssertionError without a text too
        raise InvalidExample(f"damaged or unsupported image: {_reason(error)}") from error


def check_size(image: Image.Image, max_pixels: int) -> None:
    """Raise InvalidExample for an image of too many pixels, or of one edge far longer than the other."""
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidExample(f"{width} x {height} pixels are over the limit of {max_pixels} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidExample(f"{width} x {height} pixels: one edge is over {MAX_ASPECT} times the other")


def _upright(image: Image.Image) -> Image.Image:
    try:
        transposition = _TRANSPOSITIONS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  damaged metadata is no reason to refuse a photo
        return image
    return image if transposition is None else image.transpose(transposition)


def _flattened(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _eight_bit_grey(np.asarray(image)).convert("RGB")
    if image.mode in {"I", "F"}:
        raise InvalidExample("pixels of 32 bits, or with a sign, have no known range: save the image with 8 or 16 bits")
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Composite an image on white, some lines at a time: a large one has three copies of itself else."""
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP_LINES):
        strip = image.crop((0, top, image.width, min(top + _STRIP_LINES, image.height))).convert("RGBA")
        flat.paste(Image.alpha_composite(Image.new("RGBA", strip.size, _WHITE), strip).convert("RGB"), (0, top))
    return flat


def _eight_bit_grey(values: NDArray[np.uint16]) -> Image.Image:
    """Scale 16-bit values, or 12-bit ones where none needs more; Pillow's own conversion clips at 255."""
    most = _MAX_OF_12_BITS if values.max() <= _MAX_OF_12_BITS else _MAX_OF_16_BITS
    return Image.fromarray((values.astype(np.uint32) * 255 // most).astype(np.uint8))


def _reason(error: Exception) -> str:
    """Return what a library says of a file, fit for a line of text; its kind where it says nothing."""
    text = "".join(each for each in str(error) if each.isprintable())[:_MAX_REASON]
    return text or f"the decoder failed with {type(error).__name__}"
