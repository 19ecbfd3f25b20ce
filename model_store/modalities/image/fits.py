"""Fits an image to the square that a network takes: `crop`, `pad` or `squash`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image, ImageOps

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Square:
    """The square: its edge in pixels, and what the fits need to know to fill it.

    `resize_size` is the length of the shorter edge before a crop. `filter` resizes. `fill` is the colour of a pad.
    """

    edge: int
    resize_size: int
    filter: Image.Resampling
    fill: Colour


def crop(image: Image.Image, square: Square) -> Image.Image:
    """Resize the shorter edge to `resize_size` and cut the centre out, with black borders where it is too small.

    Equal to torchvision's `resize` and `center_crop` of a PIL image, to the bit.
    """
    width, height = image.size
    short, long = sorted((width, height))
    longer = int(square.resize_size * long / short)
    size = (square.resize_size, longer) if width <= height else (longer, square.resize_size)
    return _centre(_resized(image, size, square), square.edge)


def pad(image: Image.Image, square: Square) -> Image.Image:
    """Resize the longer edge to the square's and fill the rest on both sides: nothing is cut off or distorted."""
    width, height = image.size
    scale = square.edge / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    padded = Image.new("RGB", (square.edge, square.edge), square.fill)
    padded.paste(_resized(image, size, square), ((square.edge - size[0]) // 2, (square.edge - size[1]) // 2))
    return padded


def squash(image: Image.Image, square: Square) -> Image.Image:
    """Resize both edges to the square's: nothing is cut off, and what is not square is distorted."""
    return _resized(image, (square.edge, square.edge), square)


CROP, PAD, SQUASH = "crop", "pad", "squash"
FITS: Mapping[str, Callable[[Image.Image, Square], Image.Image]] = {CROP: crop, PAD: pad, SQUASH: squash}
"""How an RGB image becomes one of the square's size, by the name in an input spec."""


def _resized(image: Image.Image, size: tuple[int, int], square: Square) -> Image.Image:
    return image if size == image.size else image.resize(size, square.filter)


def _centre(image: Image.Image, edge: int) -> Image.Image:
    width, height = image.size
    if width < edge or height < edge:
        missing = (max(edge - width, 0), max(edge - height, 0))
        borders = (missing[0] // 2, missing[1] // 2, (missing[0] + 1) // 2, (missing[1] + 1) // 2)
        image = ImageOps.expand(image, borders)
        width, height = image.size
    left, top = round((width - edge) / 2), round((height - edge) / 2)
    return image.crop((left, top, left + edge, top + edge))
