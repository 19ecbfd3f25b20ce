"""Calibration rows and reference logits: what is written is read again, and nothing else is."""

from __future__ import annotations

import io
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model_store.architectures import Chain, Head, build_random
from model_store.bases.tabular import load_random_mlp
from model_store.blobs.local import LocalBlobs
from model_store.calibration import (
    MAX_ROWS,
    WrittenCalibration,
    batch_of,
    chosen_rows,
    max_rows,
    read_calibration,
    write_calibration,
)
from model_store.errors import CorruptBlob, InvalidManifest, MissingBlob
from model_store.modalities import InputSpec, Rows, X
from model_store.modalities.image.spec import PIXELS, ImageInputSpec
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.records.resources import CalibrationDigests
from model_store.tensors.stages import write_stage
from tests.odd_images import PALETTE_WITHOUT_COLOURS

SPEC = ImageInputSpec(resize_size=72, crop_size=64)
VECTORS = ValuesInputSpec(4)


@pytest.fixture(scope="module")
def chain() -> Chain:
    """A small network of three labels."""
    return build_random("squeezenet1_1", {}, Head("linear", 3), seed=0).eval()


@pytest.fixture(scope="module")
def mlp() -> Chain:
    """A network of rows of four numbers and two labels."""
    return load_random_mlp([4, 8], ["no", "yes"], seed=0).chain


def pictures(num_rows: int, seed: int = 0) -> Rows:
    """Return rows of coloured squares."""
    squares = np.random.default_rng(seed).integers(0, 256, (num_rows, 4, 4, 3), np.uint8)
    return Rows({PIXELS: squares.repeat(16, axis=1).repeat(16, axis=2)}, num_rows)


def vectors(num_rows: int) -> Rows:
    """Return rows of four numbers."""
    return Rows({X: np.random.default_rng(0).normal(size=(num_rows, 4)).astype(np.float32)}, num_rows)


def test_images_come_back_with_what_the_chain_answers_to_them(blobs: LocalBlobs, chain: Chain) -> None:
    """The logits are those of the rows as they are stored, not of the rows before JPEG."""
    given = pictures(20)
    kept = read_calibration(blobs, write_calibration(blobs, chain, given, SPEC), SPEC, 3)
    assert kept.rows.form == given.form
    assert 0 < np.abs(kept.rows.arrays[PIXELS].astype(int) - given.arrays[PIXELS]).mean() < 4
    with torch.inference_mode():
        logits = chain(SPEC.to_input(batch_of(kept.rows, torch.device("cpu")))).numpy()
    np.testing.assert_allclose(kept.logits, logits, atol=1e-5)


def test_vectors_come_back_to_the_bit(blobs: LocalBlobs, mlp: Chain) -> None:
    """And so do their logits."""
    kept = read_calibration(blobs, write_calibration(blobs, mlp, vectors(5), VECTORS), VECTORS, 2)
    assert np.array_equal(kept.rows.arrays[X], vectors(5).arrays[X])
    with torch.inference_mode():
        np.testing.assert_allclose(kept.logits, mlp(batch_of(vectors(5), torch.device("cpu"))).numpy(), atol=1e-5)


def test_models_of_one_dataset_share_the_rows(blobs: LocalBlobs, chain: Chain) -> None:
    """Equal rows are one blob, and what is not stored twice is not counted twice."""
    other = build_random("squeezenet1_1", {}, Head("linear", 5), seed=1)
    first, second, again = (write_calibration(blobs, each, pictures(3), SPEC) for each in (chain, other, chain))
    assert first.rows == second.rows
    assert first.new_digests == (first.rows, first.logits)
    assert second.new_digests == (second.logits,)
    assert again == WrittenCalibration(first.rows, first.logits, ())


def test_a_chain_that_trains_is_asked_as_it_will_be_served(blobs: LocalBlobs, chain: Chain) -> None:
    """In `eval()`: dropout would answer differently each time."""
    written = [write_calibration(blobs, chain.train(), pictures(3), SPEC).logits for _ in range(2)]
    assert written[0] == written[1]


def test_the_rows_are_spread_evenly() -> None:
    """From the first to the last, in order, none twice, and fewer where images are very large."""
    assert list(chosen_rows(5, SPEC)) == [0, 1, 2, 3, 4]
    for num_rows in (64, 65, 100, 5000):
        chosen = chosen_rows(num_rows, SPEC)
        assert (len(set(chosen)), chosen[0], chosen[-1]) == (MAX_ROWS, 0, num_rows - 1)
        assert np.ptp(np.diff(chosen)) <= 1
    assert max_rows(ImageInputSpec(4096, 4096)) == 1
    assert list(chosen_rows(9, ImageInputSpec(4096, 4096))) == [0]


def test_what_cannot_be_calibrated_by_is_not_written(blobs: LocalBlobs, chain: Chain, mlp: Chain) -> None:
    """A backbone has no logits, and a model that diverged has no numbers."""
    backbone = build_random("squeezenet1_1", {}, Head("none"), seed=0)
    with pytest.raises(InvalidManifest, match="a backbone only has none"):
        write_calibration(blobs, backbone, pictures(1), SPEC)
    with pytest.raises(InvalidManifest, match="the rows to calibrate by: must be 1 to 64, not 65"):
        write_calibration(blobs, chain, pictures(65), SPEC)
    with pytest.raises(InvalidManifest, match="the rows to calibrate by: must be finite"):
        write_calibration(blobs, mlp, Rows({X: np.full((2, 4), np.inf, np.float32)}, 2), VECTORS)
    diverged = load_random_mlp([4, 8], ["no", "yes"], seed=0).chain
    next(diverged.parameters()).data.fill_(torch.nan)
    with pytest.raises(InvalidManifest, match="the logits to calibrate by: must be finite"):
        write_calibration(blobs, diverged, vectors(2), VECTORS)
    assert list(blobs.all()) == []


def jpeg(width: int, height: int) -> Tensor:
    """Return the bytes of a black JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "JPEG")
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


GOOD = jpeg(64, 64)
ZEROS = torch.zeros
HOSTILE_IMAGES = {
    "must be 1 to 64, not 0": {},
    "must be 1 to 64, not 65": {f"{position:03}": GOOD for position in range(65)},
    "must be named 000 to 001": {"000": GOOD, "../1": GOOD},
    "001 must be bytes": {"000": GOOD, "001": GOOD.to(torch.int16)},
    "000 must be bytes": {"000": GOOD.reshape(1, -1)},
    "000 is no image that can be used: not an image": {"000": GOOD[5:]},
    "000 is no image that can be used: damaged": {"000": GOOD[:-200]},
    "001 is no image that can be used: damaged": {
        "000": GOOD,
        "001": torch.frombuffer(bytearray(PALETTE_WITHOUT_COLOURS), dtype=torch.uint8),
    },
    "000 is no image that can be used: 65 x 64 pixels are over the limit": {"000": jpeg(65, 64)},
    "000 must have 64 x 64 pixels, not 64 x 63": {"000": jpeg(64, 63)},
    "may have 851968 bytes, not": {"000": ZEROS(900_000, dtype=torch.uint8)},
}
HOSTILE_VECTORS = {
    "must have one tensor, 'rows'": {"rows": ZEROS(1, 4), "more": ZEROS(1)},
    "must be 1 to 64, not 0": {"rows": ZEROS(())},
    "must be 1 to 64, not 65": {"rows": ZEROS(65, 4)},
    "must be float32 [1, 4], not torch.float32 [1, 5]": {"rows": ZEROS(1, 5)},
    "must be float32 [2, 4], not torch.float64 [2, 4]": {"rows": ZEROS(2, 4, dtype=torch.float64)},
    "must be finite": {"rows": torch.full((1, 4), torch.nan)},
}
HOSTILE_LOGITS = {
    "must have one tensor, 'logits'": {"rows": ZEROS(2, 3)},
    "must be float32 [2, 3], not torch.float32 [3, 3]": {"logits": ZEROS(3, 3)},
    "must be float32 [2, 3], not torch.float32 [2, 2]": {"logits": ZEROS(2, 2)},
    "must be float32 [2, 3], not torch.float16 [2, 3]": {"logits": ZEROS(2, 3, dtype=torch.float16)},
    "must be finite": {"logits": torch.full((2, 3), -torch.inf)},
    "must be float32 [2, 3], not torch.float32 [2, 200]": {"logits": ZEROS(2, 200)},
    "bytes, not": {"logits": ZEROS(2, 10_000_000)},
}


@pytest.mark.parametrize(("reason", "tensors"), HOSTILE_IMAGES.items(), ids=str)
def test_rows_of_strangers_are_refused_where_they_are_no_images(
    blobs: LocalBlobs, reason: str, tensors: dict[str, Tensor]
) -> None:
    """The message names the blob, and says what is wrong with it."""
    refused(blobs, {"rows": tensors, "logits": {"logits": ZEROS(1, 3)}}, SPEC, "rows", reason)


@pytest.mark.parametrize(("reason", "tensors"), HOSTILE_VECTORS.items(), ids=str)
def test_rows_of_strangers_are_refused_where_they_are_no_vectors(
    blobs: LocalBlobs, reason: str, tensors: dict[str, Tensor]
) -> None:
    """As images are."""
    refused(blobs, {"rows": tensors, "logits": {"logits": ZEROS(1, 3)}}, VECTORS, "rows", reason)


@pytest.mark.parametrize(("reason", "tensors"), HOSTILE_LOGITS.items(), ids=str)
def test_logits_of_strangers_are_refused_where_they_do_not_fit(
    blobs: LocalBlobs, reason: str, tensors: dict[str, Tensor]
) -> None:
    """As many as there are rows and labels, and finite."""
    refused(blobs, {"rows": {"rows": ZEROS(2, 4)}, "logits": tensors}, VECTORS, "logits", reason)


def refused(
    blobs: LocalBlobs,
    tensors: dict[str, dict[str, Tensor]],
    spec: InputSpec,
    which: str,
    reason: str,
    max_size: int = sys.maxsize,
) -> None:
    """Expect two blobs to be refused for one of them."""
    written = CalibrationDigests(**{name: write_stage(blobs, each).digest for name, each in tensors.items()})
    with pytest.raises(InvalidManifest, match=re.escape(reason)) as caught:
        read_calibration(blobs, written, spec, 3, max_size)
    assert f"calibration {which} {getattr(written, which)}" in str(caught.value)


def test_a_lost_or_damaged_blob_is_named(blobs: LocalBlobs, mlp: Chain) -> None:
    """A backbone is told that it has none, and other bytes than a tensor file's that they are none."""
    written = write_calibration(blobs, mlp, vectors(2), VECTORS)
    with pytest.raises(InvalidManifest, match="a backbone only has none"):
        read_calibration(blobs, written, VECTORS, 0)
    with pytest.raises(InvalidManifest, match="not a safetensors file"):
        read_calibration(blobs, CalibrationDigests(blobs.put([b"x"]).digest, written.logits), VECTORS, 2)
    path = blobs.path(written.logits)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptBlob, match=written.logits):
        read_calibration(blobs, written, VECTORS, 2)
    path.unlink()
    with pytest.raises(MissingBlob, match=written.logits):
        read_calibration(blobs, written, VECTORS, 2)
