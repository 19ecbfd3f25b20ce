"""What a dataset of images looks like: its sizes and colours as text, and a sheet of thumbnails."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from maas.training.v1 import training_pb2

from model_store.extras import require


def facts(summary: training_pb2.ImageSummary) -> Iterator[tuple[str, str]]:
    """Yield what is known of all images together."""
    yield "pixels", f"{_spread(summary.width)} wide, {_spread(summary.height)} high"
    yield "colours", f"mean {_numbers(summary.pixel_mean)}, deviation {_numbers(summary.pixel_std)} (0 to 1)"


def draw_thumbnails(pictures: Iterable[tuple[bytes, str, str]], title: str, path: Path) -> dict[str, str]:
    """Write a sheet of JPEGs, each with two lines below; see draw_contact_sheet for what is returned."""
    require("images", "a contact sheet")
    from PIL import Image

    from maas_client.modalities.image.contact_sheet import Tile, draw_contact_sheet

    tiles = [Tile(Image.open(io.BytesIO(data)), caption, note) for data, caption, note in pictures]
    return draw_contact_sheet(tiles, title, path)


def _spread(spread: training_pb2.Spread) -> str:
    return f"{spread.min} to {spread.max} (median {spread.median})" if spread.min < spread.max else f"{spread.min}"


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
