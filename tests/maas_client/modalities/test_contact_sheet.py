"""The contact sheet: a picture in each tile, and in the frame's colour what stands below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from maas_client.modalities.image.contact_sheet import INK, PAPER, RIGHT, WRONG, Tile, draw_contact_sheet, judged_tile
from maas_client.modalities.image.fonts import Fonts

BLUE = Image.new("RGB", (300, 200), (0, 0, 255))


def drawn(tiles: list[Tile], folder: Path, title: str = "roses") -> Image.Image:
    """Return a sheet as it was written."""
    draw_contact_sheet(tiles, title, folder / "sheet.png")
    with Image.open(folder / "sheet.png") as sheet:
        return sheet.convert("RGB")


def colours_of(sheet: Image.Image) -> set[object]:
    """Return the colours of an image."""
    return {colour for _, colour in sheet.getcolors(2**24) or ()}


def test_right_and_wrong_predictions_are_told_apart(tmp_path: Path) -> None:
    """Seven photos make two rows; right ones are framed green and wrong ones red."""
    sheet = drawn([judged_tile(BLUE, "rose", "rose" if each else "tulip", 0.9) for each in range(7)], tmp_path)
    assert sheet.height > 2 * 168
    assert {_rgb(RIGHT), _rgb(WRONG), (0, 0, 255)} <= colours_of(sheet)


def test_few_pictures_make_a_narrow_sheet(tmp_path: Path) -> None:
    """And none an empty one."""
    assert drawn([Tile(BLUE, "rose", "train")], tmp_path).width < drawn([Tile(BLUE, "rose", "")] * 3, tmp_path).width
    assert colours_of(drawn([], tmp_path, title="")) == {_rgb(PAPER)}


def test_long_labels_stay_below_their_picture(tmp_path: Path) -> None:
    """The end is left out: the margin between two tiles is empty."""
    sheet = drawn([Tile(BLUE, "a very long label " * 9, "x" * 99)] * 2, tmp_path)
    margin = sheet.crop((10 + 168, 40, 10 + 176, sheet.height))
    assert colours_of(margin) == {_rgb(PAPER)}
    assert _rgb(INK) in colours_of(sheet)


def test_letters_without_a_font_are_numbered(tmp_path: Path) -> None:
    """Boxes would be all alike; equal words have one number, and the rest of a line stays as it is."""
    tiles = [judged_tile(BLUE, "花", "鳥", 0.9), judged_tile(BLUE, "花", "rose", 0.9), Tile(BLUE, "é 花", "")]
    without = Fonts(with_system=False)
    assert draw_contact_sheet(tiles, "roses", tmp_path / "sheet.png", without) == {"[1]": "鳥", "[2]": "花", "[3]": "é"}
    expected = [
        Tile(BLUE, "[1] 0.90", "is [2]", WRONG),
        Tile(BLUE, "rose 0.90", "is [2]", WRONG),
        Tile(BLUE, "[3] [2]", ""),
    ]
    assert draw_contact_sheet(expected, "roses", tmp_path / "expected.png", without) == {}
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.parametrize("letters", ["é", "жук", "花", "حصان"])
def test_a_font_of_the_system_is_used_where_it_has_the_letters(tmp_path: Path, letters: str) -> None:
    """And every letter is drawn as itself, in the font that was found."""
    font = Fonts().font_for(letters, 15)
    if font is None:
        pytest.skip("no font here has these letters")
    assert draw_contact_sheet([Tile(BLUE, letters, "")], "", tmp_path / "sheet.png") == {}
    assert Fonts(with_system=False).font_for(letters, 15) is None
    drawn_letters = {bytes(font.getmask(each)) for each in letters}
    assert len(drawn_letters) == len(letters)
    assert bytes(font.getmask("\U0010ffff")) not in drawn_letters


def test_spaces_and_joiners_need_no_font_of_their_own(tmp_path: Path) -> None:
    """They are drawn as a space, or not at all."""
    for name, label in (("odd", "a\u00a0b\u200dc\u200b"), ("plain", "a bc")):
        assert draw_contact_sheet([Tile(BLUE, label, "")], "", tmp_path / name, Fonts(with_system=False)) == {}
    assert (tmp_path / "odd").read_bytes() == (tmp_path / "plain").read_bytes()


def _rgb(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))
