"""A contact sheet: held-out photos with predicted and true labels, as one PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from model_store.inputs import decode_image

_TILE = 168
_CAPTION = 44
_MARGIN = 10
_COLUMNS = 6
_MAX_PIXELS = 50_000_000
_RIGHT, _WRONG, _INK, _PAPER = "#1a7f37", "#cf222e", "#1f2328", "#ffffff"


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo, what it is, and what the model says: `score` is 0 to 1."""

    path: Path
    true_label: str
    predicted_label: str
    score: float


def draw_contact_sheet(photos: Sequence[LabelledPhoto], title: str, target: Path) -> None:
    """Write a PNG with one tile for each photo, green where the prediction is right and red where it is not."""
    rows = math.ceil(len(photos) / _COLUMNS)
    width = _MARGIN + _COLUMNS * (_TILE + _MARGIN)
    height = 40 + rows * (_TILE + _CAPTION + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 12), title, fill=_INK, font=ImageFont.load_default(18))
    for number, photo in enumerate(photos):
        row, column = divmod(number, _COLUMNS)
        corner = (_MARGIN + column * (_TILE + _MARGIN), 40 + row * (_TILE + _CAPTION + _MARGIN))
        _draw_tile(sheet, draw, photo, corner)
    sheet.save(target)


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, photo: LabelledPhoto, corner: tuple[int, int]) -> None:
    left, top = corner
    right = photo.predicted_label == photo.true_label
    colour = _RIGHT if right else _WRONG
    image = decode_image(photo.path.read_bytes(), max_pixels=_MAX_PIXELS)
    image.thumbnail((_TILE - 8, _TILE - 8))
    draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), outline=colour, width=3)
    sheet.paste(image, (left + (_TILE - image.width) // 2, top + (_TILE - image.height) // 2))
    draw.text(
        (left, top + _TILE + 4),
        f"{photo.predicted_label} {photo.score:.2f}",
        fill=colour,
        font=ImageFont.load_default(15),
    )
    draw.text((left, top + _TILE + 23), f"is {photo.true_label}", fill=_INK, font=ImageFont.load_default(13))
