"""The contact sheet: one tile for each photo, green where the prediction is right."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from maas_client.demo.contact_sheet import _RIGHT, _WRONG, LabelledPhoto, draw_contact_sheet


def test_right_and_wrong_predictions_are_told_apart(tmp_path: Path) -> None:
    """Seven photos make two rows; right ones are framed green and wrong ones red."""
    photo = tmp_path / "photo.png"
    Image.new("RGBA", (300, 200), (0, 0, 255, 128)).save(photo)
    photos = [LabelledPhoto(photo, "rose", "rose" if number else "tulip", 0.9) for number in range(7)]
    draw_contact_sheet(photos, "roses", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour for _, colour in sheet.getcolors(2**24)}  # type: ignore[union-attr]
        assert sheet.height > 2 * 168
    assert {_rgb(_RIGHT), _rgb(_WRONG)} <= colours


def _rgb(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))
