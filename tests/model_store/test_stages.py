"""Stages: tensors to canonical safetensors bytes and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from model_store.errors import CorruptBlob, InvalidManifest
from model_store.local_blobs import LocalBlobs
from model_store.stages import _serialised, read_stage, write_stage

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def test_tensors_come_back_as_they_were(blobs: LocalBlobs) -> None:
    """Every dtype, a scalar, an empty tensor and a transposed one survive the round."""
    tensors = {f"t{number}": torch.ones(3, 2).to(dtype) for number, dtype in enumerate(DTYPES)}
    tensors |= {"scalar": torch.tensor(5), "empty": torch.zeros(0, 3), "transposed": torch.randn(3, 5).T}
    found = read_stage(blobs, write_stage(blobs, tensors).digest)
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert all(found[name].dtype == tensors[name].dtype for name in tensors)


@given(
    shapes=st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    )
)
@settings(deadline=None, max_examples=50)
def test_the_safetensors_library_reads_what_is_written(
    shapes: dict[str, tuple[torch.dtype, list[int]]],
) -> None:
    """Whatever the names, dtypes and shapes, the bytes are a legal safetensors file."""
    tensors = {name: torch.ones(shape).to(dtype) for name, (dtype, shape) in shapes.items()}
    found = load(b"".join(bytes(chunk) for chunk in _serialised(tensors)))
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == {
        name: (t.dtype, t.shape) for name, t in tensors.items()
    }


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
