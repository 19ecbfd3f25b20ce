"""Reads an archive of images: every image is decoded once, and its perceptual hash and colours are taken."""

from __future__ import annotations

from functools import partial

import numpy as np

from model_store.modalities.image.decoding import decode_image
from training_service.datasets.examples import ReadExamples
from training_service.datasets.labelled.checked_files import CheckedExample
from training_service.datasets.labelled.reading import read_labelled
from training_service.datasets.reading import Reading
from training_service.modalities.image.near_duplicates import perceptual_hash
from training_service.modalities.image.summary import Colours, Seen

# Hashes and colours are taken of a small copy: a hash has nine by eight levels only.
_SEEN_EDGE = 128
# Values of 8 to 14 bits that were written into files of 16 as they are are all below a quarter of the range.
_DARK = 63


def read_images(reading: Reading) -> ReadExamples:
    """Return the images in label folders, their bytes in the spool; raise InvalidInput for an unreadable upload."""
    return read_labelled(reading, "image", partial(_checked, max_pixels=reading.max_size))


def _checked(data: bytes, *, max_pixels: int) -> CheckedExample:
    image = decode_image(data, max_pixels=max_pixels)
    is_dark = int(np.asarray(image).max()) <= _DARK
    small = image.reduce(max(1, min(image.size) // _SEEN_EDGE))
    facts = {"width": image.width, "height": image.height, "perceptual_hash": perceptual_hash(small)}
    return CheckedExample(facts, Seen(Colours.of_image(small), is_dark))
