"""Stages: tensors to canonical safetensors bytes and back."""

from __future__ import annotations

import pytest
import torch

from model_store.blobs.local import LocalBlobs
from model_store.errors import CorruptBlob, InvalidManifest
from model_store.tensors.stages import read_forms, read_stage, read_stages, write_stage, write_stages

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def test_tensors_come_back_as_they_were(blobs: LocalBlobs) -> None:
    """Every dtype, a scalar, an empty tensor and a transposed one survive the round."""
    tensors = {f"t{number}": torch.ones(3, 2).to(dtype) for number, dtype in enumerate(DTYPES)}
    tensors |= {"scalar": torch.tensor(5), "empty": torch.zeros(0, 3), "transposed": torch.randn(3, 5).T}
    found = read_stage(blobs, write_stage(blobs, tensors).digest)
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert all(found[name].dtype == tensors[name].dtype for name in tensors)


def test_a_digest_depends_on_the_tensors_alone(blobs: LocalBlobs) -> None:
    """The order of insertion and the memory layout do not change the digest."""
    first = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1])}
    second = {"b": torch.tensor([1]), "a": torch.arange(6.0).reshape(2, 3).T.contiguous().T}
    assert write_stage(blobs, first).digest == write_stage(blobs, second).digest


def test_a_stage_without_tensors_has_a_digest_too(blobs: LocalBlobs) -> None:
    """Pooling and flattening are stages like any other."""
    assert read_stage(blobs, write_stage(blobs, {}).digest) == {}


def test_every_flipped_byte_is_found(blobs: LocalBlobs) -> None:
    """No byte of a stage can change unseen, header or data."""
    digest = write_stage(blobs, {"w": torch.arange(4.0)}).digest
    path = blobs.path(digest)
    data = path.read_bytes()
    path.chmod(0o644)
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(CorruptBlob, match=digest):
            read_stage(blobs, digest)


def test_a_blob_that_is_no_safetensors_file_is_named(blobs: LocalBlobs) -> None:
    """A blob with the right digest and the wrong content is refused clearly."""
    digest = blobs.put([b"not tensors at all"]).digest
    with pytest.raises(InvalidManifest, match="not a safetensors file"):
        read_stage(blobs, digest)


def test_several_stages_come_back_by_digest(blobs: LocalBlobs) -> None:
    """Written at once, read at once, each as if it were alone; a digest that is named twice is read once."""
    stages = {f"stage{number}": {"w": torch.full((3, number), float(number))} for number in range(9)}
    stored = write_stages(blobs, stages)
    assert list(stored) == list(stages)
    assert {name: blob.digest for name, blob in stored.items()} == {
        name: write_stage(blobs, tensors).digest for name, tensors in stages.items()
    }
    digests = [blob.digest for blob in stored.values()]
    found = read_stages(blobs, digests + digests)
    assert set(found) == set(digests)
    for name, tensors in stages.items():
        assert torch.equal(found[stored[name].digest]["w"], tensors["w"])


def test_one_corrupt_stage_of_several_is_named(blobs: LocalBlobs) -> None:
    """Neither the tensors nor their forms of any stage are returned then."""
    stored = write_stages(blobs, {str(number): {"w": torch.full((4,), float(number))} for number in range(9)})
    digests = [blob.digest for blob in stored.values()]
    damaged = blobs.path(digests[4])
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    with pytest.raises(CorruptBlob, match=digests[4]):
        read_stages(blobs, digests)
    with pytest.raises(CorruptBlob, match=digests[4]):
        read_forms(blobs, digests)


def test_forms_are_those_of_the_tensors(blobs: LocalBlobs) -> None:
    """Shapes and dtypes by name, without the tensors."""
    tensors = {"w": torch.zeros(2, 3), "n": torch.tensor(5), "none": torch.zeros(0, 7, dtype=torch.bfloat16)}
    digest = write_stage(blobs, tensors).digest
    assert read_forms(blobs, [digest]) == {digest: {name: (each.shape, each.dtype) for name, each in tensors.items()}}


def test_a_stage_is_one_buffer(blobs: LocalBlobs) -> None:
    """No tensor is copied out of the memory that the blob was read into, large or small, and all can be written to."""
    for size in (4, 3 * 1024 * 1024):
        tensors = {"a": torch.zeros(size), "b": torch.zeros(2)}
        found = read_stage(blobs, write_stage(blobs, tensors).digest)
        assert found["b"].data_ptr() - found["a"].data_ptr() == 4 * size
        found["a"] += 1
        assert torch.equal(found["b"], tensors["b"])


def test_a_dtype_that_no_stage_can_have_is_named(blobs: LocalBlobs) -> None:
    """The tensor and its dtype are in the message, and nothing is stored."""
    with pytest.raises(InvalidManifest, match=r"'w' has dtype torch\.complex128"):
        write_stage(blobs, {"w": torch.zeros(2, dtype=torch.complex128)})
    assert list(blobs.all()) == []
