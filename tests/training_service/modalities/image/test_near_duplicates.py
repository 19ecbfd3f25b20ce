"""Near duplicates: one picture in other clothes is found, and different pictures are not taken for one."""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model_store.modalities.image.decoding import decode_image
from tests.training_service.making import picture
from training_service.modalities.image.near_duplicates import group_near_duplicates, perceptual_hash


def smooth(seed: int) -> Image.Image:
    """Return a picture with the low frequencies of a photo."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((240, 200), Image.Resampling.BICUBIC)


def saved(image: Image.Image, **options: int) -> Image.Image:
    """Return an image as a JPEG shows it."""
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return decode_image(file.getvalue(), max_pixels=10**6)


def groups_of(looks: Sequence[str], labels: Sequence[str] | None = None) -> list[int]:
    """Group looks of one label, or of these."""
    digests = [hashlib.sha256(f"{number}".encode()).hexdigest() for number in range(len(looks))]
    return group_near_duplicates(labels or ["a"] * len(looks), digests, looks).tolist()


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded anew": lambda image: saved(image, quality=50),
    "half the size": lambda image: image.resize((120, 100)),
    "cut a little": lambda image: image.crop((1, 1, 239, 199)),
    "a little brighter": lambda image: image.point(lambda level: level + 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_picture_is_found_in_other_clothes(change: str) -> None:
    """Of fifty pictures and changed copies of ten, each copy is in the group of its own."""
    looks = [perceptual_hash(smooth(seed)) for seed in range(50)]
    copies = [perceptual_hash(CHANGES[change](smooth(seed))) for seed in range(10)]
    groups = groups_of(looks + copies)
    assert groups[50:] == groups[:10]
    assert len(set(groups)) == 50


def test_pictures_of_one_kind_are_not_one_picture() -> None:
    """A disc of another place is another picture, but for the few that chance has put into nearly the same."""
    looks = [perceptual_hash(decode_image(picture("red", seed), max_pixels=10**6)) for seed in range(60)]
    assert len(set(groups_of(looks))) >= 57


def test_other_brightness_is_another_picture() -> None:
    """The same shape in other light: their hashes are equal, and handwriting would be one heap if that was enough."""
    ramp = np.tile(np.arange(0, 240, 2, np.uint8), (100, 1))
    looks = [
        perceptual_hash(Image.fromarray(ramp).convert("RGB").point(lambda level: level // 2)),
        perceptual_hash(Image.fromarray(ramp).convert("RGB")),
    ]
    assert len(set(groups_of(looks))) == 2


def test_labels_are_apart() -> None:
    """A picture under two labels is a contradiction, and no group."""
    look = perceptual_hash(smooth(1))
    assert len(set(groups_of([look] * 4, ["a", "b", "a", "b"]))) == 2


def test_what_is_near_by_way_of_others_is_together() -> None:
    """A chain, whose ends are far apart, is one group."""
    levels = np.random.default_rng(0).integers(60, 200, 72)
    chain = [base64.b64encode((levels + 2 * step).astype(np.uint8).tobytes()).decode() for step in range(10)]
    assert set(groups_of([chain[0], chain[9]])) == {0, 1}
    assert len(set(groups_of(chain))) == 1
    assert len(set(groups_of(chain[::2] + chain[1::2]))) == 1


@given(st.permutations(range(12)))
def test_the_order_does_not_matter(order: list[int]) -> None:
    """The same images are together wherever they stand."""
    looks = [perceptual_hash(smooth(seed // 2)) for seed in range(12)]
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(12)]
    groups = group_near_duplicates(["a"] * 12, [digests[at] for at in order], [looks[at] for at in order])
    together = {frozenset(order[at] // 2 for at in np.flatnonzero(groups == group)) for group in groups}
    assert together == {frozenset([number]) for number in range(6)}


def test_none_and_one() -> None:
    """Nothing to compare is no error."""
    assert groups_of([]) == []
    assert groups_of([perceptual_hash(smooth(0))]) == [0]


def test_many_images_take_seconds() -> None:
    """A hundred thousand different ones, and ten thousand that are all alike, which end in few groups."""
    random = np.random.default_rng(0)
    looks = [base64.b64encode(row.tobytes()).decode() for row in random.integers(0, 256, (100_000, 72), np.uint8)]
    started = time.monotonic()
    assert len(set(groups_of(looks))) == 100_000
    assert len(set(groups_of([looks[0]] * 10_000))) == 1
    assert time.monotonic() - started < 30
