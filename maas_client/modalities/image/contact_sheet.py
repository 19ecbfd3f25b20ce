"""A contact sheet: pictures with a line or two below each, as one PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from maas_client.modalities.image.fonts import Fonts, drawable

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


def draw_contact_sheet(tiles: Sequence[Tile], title: str, target: Path, fonts: Fonts | None = None) -> dict[str, str]:
    """Write a PNG with all tiles in rows; return what stands for each word whose letters no font here has.

    Without such a font letters would be boxes: the word's number stands there, and whoever calls says what it means.
    """
    columns = max(1, min(_MAX_COLUMNS, len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    width, height = _MARGIN + columns * (_TILE + _MARGIN), rows * (_TILE + _CAPTION + _MARGIN)
    sheet = Image.new("RGB", (width, _TITLE + height + _MARGIN), PAPER)
    pen = _Pen(ImageDraw.Draw(sheet), fonts or Fonts())
    pen.write((_MARGIN, 12), title, INK, 18, width - 2 * _MARGIN)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        corner = (_MARGIN + column * (_TILE + _MARGIN), _TITLE + row * (_TILE + _CAPTION + _MARGIN))
        _draw_tile(sheet, pen, tile, corner)
    sheet.save(target, "PNG")
    return {number: word for word, number in pen.numbers.items()}


def _draw_tile(sheet: Image.Image, pen: _Pen, tile: Tile, corner: tuple[int, int]) -> None:
    left, top = corner
    image = tile.image.copy()
    image.thumbnail((_TILE - 8, _TILE - 8))
    pen.draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), outline=tile.colour, width=3)
    sheet.paste(image, (left + (_TILE - image.width) // 2, top + (_TILE - image.height) // 2))
    pen.write((left, top + _TILE + 4), tile.caption, tile.colour, _FIRST_LINE, _TILE)
    pen.write((left, top + _TILE + 23), tile.note, INK, _OTHER_LINES, _TILE)


class _Pen:
    """Writes lines in whatever font has their letters; `numbers` stand for the words that none has."""

    def __init__(self, draw: ImageDraw.ImageDraw, fonts: Fonts) -> None:
        self.draw = draw
        self.numbers: dict[str, str] = {}
        self._fonts = fonts

    def write(self, at: tuple[int, int], text: str, colour: str, size: int, room: int) -> None:
        """Write a line, its end left out where there is no room for it."""
        font = self._fonts.font_for(text, size)
        if font is None:
            # One font for the line: where words need several, all that Pillow's own cannot write are numbered.
            alone = [
                word if self._fonts.font_for(word, size) is not None else self._number(word) for word in text.split(" ")
            ]
            if (font := self._fonts.font_for(" ".join(alone), size)) is None:
                alone = [word if word.isascii() else self._number(word) for word in text.split(" ")]
                font = self._fonts.font_for(" ".join(alone), size)
            text = " ".join(alone)
        text = drawable(text, font) if font is not None else text
        while self.draw.textbbox((0, 0), text, font)[2] > room:
            text = text.removesuffix("...")[:-1] + "..."
        self.draw.text(at, text, fill=colour, font=font)

    def _number(self, word: str) -> str:
        return self.numbers.setdefault(word, f"[{len(self.numbers) + 1}]")
