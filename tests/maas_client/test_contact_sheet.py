"""The contact sheet: a picture in each tile, and in the frame's colour what stands below it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from maas_client.contact_sheet import INK, PAPER, RIGHT, WRONG, Tile, draw_contact_sheet, judged_tile

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


def _rgb(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))
