"""A contact sheet: pictures with a line or two below each, as one PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_TILE = 168
_CAPTION = 44
_TITLE = 40
_MARGIN = 10
_MAX_COLUMNS = 6
_FIRST_LINE, _OTHER_LINES = 15, 13
RIGHT, WRONG, INK, PAPER = "#1a7f37", "#cf222e", "#1f2328", "#ffffff"


@dataclass(frozen=True)
class Tile:
    """A picture in a frame, and what stands below: a line in the frame's colour, and another."""

    image: Image.Image
    caption: str
    note: str
    colour: str = INK


def judged_tile(image: Image.Image, true_label: str, predicted_label: str, score: float) -> Tile:
    """Return a tile with what a model says, green where that is right and red where it is not; `score` is 0 to 1."""
    colour = RIGHT if predicted_label == true_label else WRONG
    return Tile(image, f"{predicted_label} {score:.2f}", f"is {true_label}", colour)


def draw_contact_sheet(tiles: Sequence[Tile], title: str, target: Path) -> None:
    """Write a PNG with all tiles in rows."""
    columns = max(1, min(_MAX_COLUMNS, len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    width, height = _MARGIN + columns * (_TILE + _MARGIN), rows * (_TILE + _CAPTION + _MARGIN)
    sheet = Image.new("RGB", (width, _TITLE + height + _MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, 12), title, INK, 18, width - 2 * _MARGIN)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        corner = (_MARGIN + column * (_TILE + _MARGIN), _TITLE + row * (_TILE + _CAPTION + _MARGIN))
        _draw_tile(sheet, draw, tile, corner)
    sheet.save(target, "PNG")


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int]) -> None:
    left, top = corner
    image = tile.image.copy()
    image.thumbnail((_TILE - 8, _TILE - 8))
    draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), outline=tile.colour, width=3)
    sheet.paste(image, (left + (_TILE - image.width) // 2, top + (_TILE - image.height) // 2))
    _write(draw, (left, top + _TILE + 4), tile.caption, tile.colour, _FIRST_LINE, _TILE)
    _write(draw, (left, top + _TILE + 23), tile.note, INK, _OTHER_LINES, _TILE)


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str, size: int, room: int) -> None:
    """Write a line, its end left out where there is no room for it."""
    font = ImageFont.load_default(size)
    while draw.textbbox((0, 0), text, font)[2] > room:
        text = text.removesuffix("...")[:-1] + "..."
    draw.text(at, text, fill=colour, font=font)
