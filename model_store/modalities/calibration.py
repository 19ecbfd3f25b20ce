"""The rows to calibrate a version by, and what it answered to them: two blobs, written once and read with suspicion.

A service that would run a version in lower precision compares its answers with these: it sees inputs of the version's
own kind, and the float32 logits for exactly these inputs. Rows and logits are blobs of their own, so that fine-tunes
on one dataset share the rows. Both are safetensors files: of images one tensor each with its JPEG, `000`, `001`, …; of
vectors one tensor `rows` float32 [n, size]; and one tensor `logits` float32 [n, labels].
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.backends import cudnn

from model_store.architectures import Chain
from model_store.blobs import BlobStore
from model_store.errors import InvalidImage, InvalidManifest
from model_store.modalities.inputs import (
    ImageInputSpec,
    InputSpec,
    Pixels,
    Values,
    VectorInputSpec,
    blank_row,
    decode_image,
    to_input,
)
from model_store.records.resources import CalibrationDigests
from model_store.tensors.stages import read_stage, write_stage

MAX_ROWS = 64
_MAX_BYTES = 64 * 1024 * 1024  # of all rows, decoded
_MAX_ENTRY_BYTES = 1024  # of a tensor's entry in the header, and of what a JPEG has beside its pixels
_JPEG_QUALITY = 95
_BATCH_SIZE = 16
_ROWS, _LOGITS = "rows", "logits"


@dataclass(frozen=True)
class Calibration:
    """Rows as the input spec prepares them, uint8 [n, size, size, 3] or float32 [n, size], and logits [n, labels]."""

    rows: Pixels | Values
    logits: Values


@dataclass(frozen=True)
class WrittenCalibration(CalibrationDigests):
    """A calibration that is stored now; `new_digests` are those of its blobs that were not there before."""

    new_digests: tuple[str, ...]


def max_rows(spec: InputSpec) -> int:
    """Return how many rows a calibration has at most: 64, or fewer of very large images."""
    return min(MAX_ROWS, _MAX_BYTES // blank_row(spec).nbytes)


def chosen_rows(num_rows: int, spec: InputSpec) -> NDArray[np.int64]:
    """Return the positions of the rows to calibrate by: of a few all, of many an even spread from first to last."""
    return np.linspace(0, num_rows - 1, min(num_rows, max_rows(spec))).round().astype(np.int64)


def write_calibration(blobs: BlobStore, chain: Chain, rows: Pixels | Values, spec: InputSpec) -> WrittenCalibration:
    """Store prepared rows, and what the chain answers to them as they are stored; equal rows give the equal blob.

    Runs the chain where it is, in float32 and `eval()`. Raises InvalidManifest where there are no rows or too many,
    where rows or logits are not finite, and for a backbone only; and StorageFull.
    """
    encoded = _encoded(rows, spec)
    with _named("the rows to calibrate by"):
        stored = _decoded(encoded, spec)
    with _named("the logits to calibrate by"):
        _check(chain.head is not None, "a backbone only has none")
        logits = _logits(chain, stored, spec)
        _checked_numbers(logits, (len(stored), logits.shape[1]))
    written = write_stage(blobs, encoded), write_stage(blobs, {_LOGITS: logits})
    new_digests = tuple(blob.digest for blob in written if blob.added_bytes)
    return WrittenCalibration(written[0].digest, written[1].digest, new_digests)


def read_calibration(blobs: BlobStore, digests: CalibrationDigests, spec: InputSpec, num_labels: int) -> Calibration:
    """Return a version's calibration, every byte verified and every size bounded.

    Raises MissingBlob, CorruptBlob, or InvalidManifest naming the blob that does not fit the input spec and the labels.
    """
    with _named(f"calibration rows {digests.rows}"):
        most = max_rows(spec) * (blank_row(spec).nbytes + _MAX_ENTRY_BYTES)
        rows = _decoded(_tensors(blobs, digests.rows, most), spec)
    with _named(f"calibration logits {digests.logits}"):
        _check(num_labels > 0, "a backbone only has none")
        tensors = _tensors(blobs, digests.logits, len(rows) * num_labels * 4 + _MAX_ENTRY_BYTES)
        _check(set(tensors) == {_LOGITS}, f"must have one tensor, {_LOGITS!r}")
        logits = _checked_numbers(tensors[_LOGITS], (len(rows), num_labels))
    return Calibration(rows, logits)


def _encoded(rows: Pixels | Values, spec: InputSpec) -> dict[str, Tensor]:
    if isinstance(spec, VectorInputSpec):
        return {_ROWS: torch.from_numpy(np.ascontiguousarray(rows, np.float32))}
    return {f"{position:03}": _jpeg(row) for position, row in enumerate(rows)}


def _jpeg(row: Pixels) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(row).save(file, "JPEG", quality=_JPEG_QUALITY)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def _decoded(tensors: Mapping[str, Tensor], spec: InputSpec) -> Pixels | Values:
    """Return the rows in a blob's tensors; raise InvalidManifest for any other form."""
    if isinstance(spec, VectorInputSpec):
        _check(set(tensors) == {_ROWS}, f"must have one tensor, {_ROWS!r}")
        _check_count(len(tensors[_ROWS]) if tensors[_ROWS].ndim else 0, spec)
        return _checked_numbers(tensors[_ROWS], (len(tensors[_ROWS]), spec.size))
    _check_count(len(tensors), spec)
    names = [f"{position:03}" for position in range(len(tensors))]
    _check(sorted(tensors) == names, f"must be named {names[0]} to {names[-1]}")
    return np.stack([_image(name, tensors[name], spec) for name in names])


def _image(name: str, encoded: Tensor, spec: ImageInputSpec) -> Pixels:
    _check(encoded.dtype == torch.uint8 and encoded.ndim == 1, f"{name} must be bytes, uint8 [n]")
    size = spec.crop_size
    try:
        image = decode_image(encoded.numpy().tobytes(), max_pixels=size * size)
    except InvalidImage as error:
        raise InvalidManifest(f"{name} is no image that can be used: {error}") from error
    _check(image.size == (size, size), f"{name} must have {size} x {size} pixels, not {image.width} x {image.height}")
    return np.asarray(image, np.uint8)


def _logits(chain: Chain, rows: Pixels | Values, spec: InputSpec) -> Tensor:
    device = next(chain.parameters()).device
    batches = (torch.from_numpy(rows[start : start + _BATCH_SIZE]) for start in range(0, len(rows), _BATCH_SIZE))
    # TensorFloat-32, which PyTorch allows in convolutions, would make the reference as coarse as what is held to it.
    with torch.inference_mode(), cudnn.flags(enabled=True, allow_tf32=False):
        parts = [chain.eval()(to_input(batch.to(device), spec)) for batch in batches]
    return torch.cat(parts).cpu()


def _tensors(blobs: BlobStore, digest: str, most: int) -> dict[str, Tensor]:
    size = blobs.size(digest)
    _check(size <= most, f"may have {most} bytes, not {size}")
    return read_stage(blobs, digest)


def _checked_numbers(numbers: Tensor, shape: tuple[int, int]) -> Values:
    found = f"{numbers.dtype} {list(numbers.shape)}"
    _check(numbers.dtype == torch.float32 and numbers.shape == shape, f"must be float32 {list(shape)}, not {found}")
    _check(bool(numbers.isfinite().all()), "must be finite numbers")
    values: Values = numbers.numpy()
    return values


def _check_count(num_rows: int, spec: InputSpec) -> None:
    _check(0 < num_rows <= max_rows(spec), f"must be 1 to {max_rows(spec)}, not {num_rows}")


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say of which rows or logits something is wrong."""
    try:
        yield
    except InvalidManifest as error:
        raise InvalidManifest(f"{what}: {error}") from error


def _check(holds: bool, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(rule)
