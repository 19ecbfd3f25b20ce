"""The rows to calibrate a version by, and what it answered to them: two blobs, written once and read with suspicion.

A service that would run a version in lower precision compares its answers with these: it sees inputs of the version's
own kind, and the float32 logits for exactly these inputs. Rows and logits are blobs of their own, so that fine-tunes
on one dataset share the rows. Both are safetensors files. The rows' blob is a pack of examples of the dataset itself
(`tensors/example_pack.py`), prepared when they are read, or holds prepared rows as their input spec writes them
(`to_blob`), where there is no such pack; the logits are one tensor `logits`, float32 [n, outputs], and beside it lies
what the version's rows were like (`drift.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.backends import cudnn

from model_store.architectures import Chain
from model_store.blobs import BlobStore, StoredBlob
from model_store.drift import MAX_NUMBERS, Reference, is_of_reference, max_bytes
from model_store.errors import InvalidExample, InvalidManifest
from model_store.manifests import MAX_EMBEDDING_SIZE
from model_store.modalities.batch import Batch
from model_store.modalities.spec import InputSpec, Numbers, Rows
from model_store.records.resources import CalibrationDigests
from model_store.tasks import Task
from model_store.tensors.example_pack import MAX_EXAMPLES, MAX_PACK_BYTES, examples_in, spread
from model_store.tensors.stages import read_stage, write_stage

MAX_ROWS = MAX_EXAMPLES
_MAX_BYTES = 64 * 1024 * 1024  # of all rows, decoded
_MAX_ENTRY_BYTES = 1024  # of a tensor's entry in the header, and of what an encoded row has beside its content
_BATCH_SIZE = 16
_MAX_TENSORS = 2 * MAX_NUMBERS + 8  # of logits, and of what is kept for drift
_LOGITS = "logits"


@dataclass(frozen=True)
class Calibration:
    """Rows as the input spec prepares them, and logits [n, outputs]."""

    rows: Rows
    logits: Numbers


@dataclass(frozen=True)
class WrittenCalibration(CalibrationDigests):
    """A calibration that is stored now; `new_digests` are those of its blobs that were not there before."""

    new_digests: tuple[str, ...]


def max_rows(spec: InputSpec) -> int:
    """Return how many rows a calibration has at most: 64, or fewer of very large ones."""
    return min(MAX_ROWS, _MAX_BYTES // spec.blank().size_bytes)


def chosen_rows(num_rows: int, spec: InputSpec) -> NDArray[np.int64]:
    """Return the positions of the rows to calibrate by: of a few all, of many an even spread from first to last."""
    return spread(num_rows, max_rows(spec))


def write_calibration(
    blobs: BlobStore, chain: Chain, rows: Rows, spec: InputSpec, reference: Reference | None = None
) -> WrittenCalibration:
    """Store prepared rows, and what the chain answers to them as they are stored; equal rows give the equal blob.

    Runs the chain where it is, in float32 and `eval()`. Raises InvalidManifest where there are no rows or too many,
    where rows or logits are not finite, and for a backbone only; and StorageFull.
    """
    encoded = spec.to_blob(rows)
    with _named("the rows to calibrate by"):
        stored = spec.from_blob(encoded, max_rows(spec))
    logits = _answered(chain, stored, spec)
    written = write_stage(blobs, encoded), _write_answers(blobs, logits, reference)
    new_digests = tuple(blob.digest for blob in written if blob.added_bytes)
    return WrittenCalibration(written[0].digest, written[1].digest, new_digests)


def write_logits(
    blobs: BlobStore, chain: Chain, rows_digest: str, spec: InputSpec, reference: Reference | None = None
) -> WrittenCalibration:
    """Store what the chain answers to rows that are stored already, such as a dataset's pack of examples.

    Runs the chain as `write_calibration` does. Raises what `read_rows` raises, InvalidManifest for logits that are not
    finite and for a backbone only, and StorageFull.
    """
    blob = _write_answers(blobs, _answered(chain, read_rows(blobs, rows_digest, spec), spec), reference)
    return WrittenCalibration(rows_digest, blob.digest, (blob.digest,) if blob.added_bytes else ())


def read_calibration(
    blobs: BlobStore, digests: CalibrationDigests, spec: InputSpec, num_outputs: int, max_size: int = sys.maxsize
) -> Calibration:
    """Return a version's calibration, every byte verified and every size bounded.

    `max_size` bounds each example in the modality's unit: give it where a stranger sent them. Raises MissingBlob,
    CorruptBlob, or InvalidManifest naming the blob that does not fit input spec or outputs.
    """
    rows = read_rows(blobs, digests.rows, spec, max_size)
    return Calibration(rows, read_logits(blobs, digests.logits, len(rows), num_outputs))


def read_rows(blobs: BlobStore, digest: str, spec: InputSpec, max_size: int = sys.maxsize) -> Rows:
    """Return the rows of a calibration as the spec prepares them; raise as `read_calibration` does."""
    with _named(f"calibration rows {digest}"):
        size, most = blobs.size(digest), max_rows(spec) * (spec.blank().size_bytes + _MAX_ENTRY_BYTES)
        _check_size(size, max(most, MAX_PACK_BYTES + MAX_EXAMPLES * _MAX_ENTRY_BYTES))
        tensors = read_stage(blobs, digest)
        if examples := examples_in(tensors):
            return _prepared(examples, spec, max_size)
        _check_size(size, most)
        return spec.from_blob(tensors, max_rows(spec))


def read_logits(blobs: BlobStore, digest: str, num_rows: int, num_outputs: int) -> Numbers:
    """Return the logits of a calibration, float32 [num_rows, num_outputs]; raise as `read_calibration` does."""
    with _named(f"calibration logits {digest}"):
        _check(num_outputs > 0, "a backbone only has none")
        most = num_rows * num_outputs * 4 + max_bytes(MAX_EMBEDDING_SIZE) + _MAX_TENSORS * _MAX_ENTRY_BYTES
        _check_size(blobs.size(digest), most)
        tensors = read_stage(blobs, digest)
        others = {name for name in tensors if not is_of_reference(name)}
        _check(others == {_LOGITS}, f"must have one tensor, {_LOGITS!r}, beside those for drift")
        return _checked_numbers(tensors[_LOGITS], (num_rows, num_outputs))


def read_reference(blobs: BlobStore, digest: str, embedding_size: int, task: Task) -> Reference | None:
    """Return what is stored for drift beside the logits of a calibration; raise as `read_calibration` does."""
    with _named(f"calibration logits {digest}"):
        tensors = {name: tensor for name, tensor in read_stage(blobs, digest).items() if is_of_reference(name)}
        return Reference.from_tensors(tensors, embedding_size, len(task.names), task.activation) if tensors else None


def _write_answers(blobs: BlobStore, logits: Tensor, reference: Reference | None) -> StoredBlob:
    return write_stage(blobs, {_LOGITS: logits, **(reference.to_tensors() if reference is not None else {})})


def _prepared(examples: Mapping[str, bytes], spec: InputSpec, max_size: int) -> Rows:
    """Return the rows that examples make, or of those too many an even spread."""
    names = list(examples)
    rows = []
    for name in (names[position] for position in chosen_rows(len(names), spec)):
        try:
            rows.append(spec.open(spec.stored(examples[name]), max_size).prepare())
        except InvalidExample as error:
            raise InvalidManifest(f"{name} cannot be used: {error}") from error
    return spec.collate(rows)


def batch_of(rows: Rows, device: torch.device) -> Batch:
    """Return rows as a batch on a device."""
    return Batch({name: torch.from_numpy(array).to(device) for name, array in rows.arrays.items()}, len(rows))


def _answered(chain: Chain, rows: Rows, spec: InputSpec) -> Tensor:
    """Return the logits, float32 [n, outputs], all finite."""
    with _named("the logits to calibrate by"):
        _check(chain.head is not None, "a backbone only has none")
        logits = _logits(chain, rows, spec)
        _checked_numbers(logits, (len(rows), logits.shape[1]))
    return logits


def _logits(chain: Chain, rows: Rows, spec: InputSpec) -> Tensor:
    device = next(iter(chain.state_dict().values())).device
    batches = (batch_of(rows[start : start + _BATCH_SIZE], device) for start in range(0, len(rows), _BATCH_SIZE))
    # TensorFloat-32, which PyTorch allows in convolutions, would make the reference as coarse as what is held to it.
    with torch.inference_mode(), cudnn.flags(enabled=True, allow_tf32=False):
        parts = [chain.eval()(spec.to_input(batch)) for batch in batches]
    return torch.cat(parts).cpu()


def _check_size(size: int, most: int) -> None:
    _check(size <= most, f"may have {most} bytes, not {size}")


def _checked_numbers(numbers: Tensor, shape: tuple[int, int]) -> Numbers:
    found = f"{numbers.dtype} {list(numbers.shape)}"
    _check(numbers.dtype == torch.float32 and numbers.shape == shape, f"must be float32 {list(shape)}, not {found}")
    _check(bool(numbers.isfinite().all()), "must be finite numbers")
    values: Numbers = numbers.numpy()
    return values


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
