"""Packs of examples: what a dataset keeps is what versions are calibrated by, and nothing else is taken for it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model_store.architectures import Chain
from model_store.blobs.local import LocalBlobs
from model_store.calibration import batch_of, max_rows, read_calibration, read_rows, write_logits
from model_store.errors import CorruptBlob, InvalidManifest
from model_store.modalities import X
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import PIXELS, ImageInputSpec, to_pixels
from model_store.tensors.example_pack import pack_header
from tests.model_store.calibration.test_calibration import (
    GOOD,
    SPEC,
    VECTORS,
    ZEROS,
    chain,
    jpeg,
    mlp,
    refused,
    vectors,
)

__all__ = ["chain", "mlp"]  # fixtures


def encoded(width: int, height: int) -> bytes:
    """Return a JPEG of colours that differ."""
    file = io.BytesIO()
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


IMAGE = encoded(72, 72)


def pack_of(blobs: LocalBlobs, *examples: bytes) -> str:
    """Store a pack as a dataset has it."""
    return blobs.put([pack_header([len(each) for each in examples]), *examples]).digest


def test_rows_are_prepared_from_a_pack_of_examples(blobs: LocalBlobs, chain: Chain, mlp: Chain) -> None:
    """As any spec has them, images of its very size too, and nothing but the logits is stored."""
    images = [encoded(90, 80), encoded(64, 64), encoded(64, 64)]
    written = write_logits(blobs, chain, pack_of(blobs, *images), SPEC)
    assert written.new_digests == (written.logits,)
    kept = read_calibration(blobs, written, SPEC, 3)
    for row, image in zip(kept.rows.arrays[PIXELS], images, strict=True):
        assert np.array_equal(row, to_pixels(decode_image(image, max_pixels=10**6), SPEC))
    with torch.inference_mode():
        logits = chain.eval()(SPEC.to_input(batch_of(kept.rows, torch.device("cpu")))).numpy()
    np.testing.assert_allclose(kept.logits, logits, atol=1e-5)
    numbers = vectors(5).arrays[X]
    of_values = pack_of(blobs, *(row.tobytes() for row in numbers))
    kept = read_calibration(blobs, write_logits(blobs, mlp, of_values, VECTORS), VECTORS, 2)
    assert np.array_equal(kept.rows.arrays[X], numbers)


def test_of_very_large_images_few_are_prepared(blobs: LocalBlobs) -> None:
    """However many the pack has: an even spread, which writer and reader choose alike."""
    large = ImageInputSpec(1024, 2048)
    pack = pack_of(blobs, *(encoded(seed, 10) for seed in range(10, 18)))
    assert len(read_rows(blobs, pack, large)) == max_rows(large) == 5


HOSTILE_PACKS = {
    "must be 1 to 64 examples, not 65": {f"example{position:03}": GOOD for position in range(65)},
    "must be named example000 to example001": {"example000": GOOD, "000": GOOD},
    "must be named example000 to example000": {"example001": GOOD},
    "example000 must be bytes": {"example000": GOOD.to(torch.int16)},
    "example001 must be bytes": {"example000": GOOD, "example001": GOOD.reshape(1, -1)},
    "example000 cannot be used: not an image": {"example000": GOOD[5:]},
    "example000 cannot be used: 80 x 64 pixels are over the limit": {"example000": jpeg(80, 64)},
    "example001 cannot be used": {"example000": GOOD, "example001": ZEROS(0, dtype=torch.uint8)},
    "may have 67174400 bytes, not": {"example000": ZEROS(65 * 2**20, dtype=torch.uint8)},
}


@pytest.mark.parametrize(("reason", "tensors"), HOSTILE_PACKS.items(), ids=str)
def test_packs_of_strangers_are_refused_where_they_do_not_fit(
    blobs: LocalBlobs, reason: str, tensors: dict[str, Tensor]
) -> None:
    """More than 64 examples, other names, no bytes, and images that are none, or larger than one may be."""
    refused(blobs, {"rows": tensors, "logits": {"logits": ZEROS(1, 3)}}, SPEC, "rows", reason, max_size=5000)


def test_rows_of_numbers_in_a_pack_have_the_size_of_the_spec(blobs: LocalBlobs) -> None:
    """Neither half a number nor one too many."""
    for data, reason in ((b"123", "a whole number of float32"), (bytes(20), "4 numbers, not of 5")):
        with pytest.raises(InvalidManifest, match=f"example000 cannot be used: must be .*{reason}"):
            read_rows(blobs, pack_of(blobs, data), VECTORS)


@pytest.mark.parametrize("change", [-1, 1, 2**40])
def test_a_pack_whose_offsets_are_wrong_is_refused(blobs: LocalBlobs, change: int) -> None:
    """An example that ends before or behind its own end, or the file's."""
    header = json.loads(pack_header([len(IMAGE)])[8:])
    header["example000"]["data_offsets"][1] += change
    text = json.dumps(header).encode()
    digest = blobs.put([len(text).to_bytes(8, "little"), text, IMAGE]).digest
    with pytest.raises(InvalidManifest, match=f"calibration rows {digest}"):
        read_rows(blobs, digest, SPEC)


def test_a_flipped_byte_of_a_pack_is_found(blobs: LocalBlobs) -> None:
    """By the digest, before anything is decoded."""
    digest = pack_of(blobs, IMAGE)
    path = blobs.path(digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptBlob, match=digest):
        read_rows(blobs, digest, SPEC)
