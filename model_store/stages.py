"""Stages as blobs: tensors to canonical safetensors bytes and back.

The writer is our own, because a digest must depend on the tensors alone and not on how a release of the safetensors
library orders them; the reader is the library's, which checks every offset.
Format: https://huggingface.co/docs/safetensors (8-byte little-endian header size, JSON header, tensors without gaps).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

import safetensors
import torch
from safetensors.torch import load
from torch import Tensor

from model_store.blobs import BlobStore, StoredBlob
from model_store.errors import InvalidManifest

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8


def write_stage(blobs: BlobStore, tensors: Mapping[str, Tensor]) -> StoredBlob:
    """Store a stage's tensors (any shapes, any device) as one blob; equal tensors give the equal digest."""
    return blobs.put(_serialised(tensors))


def read_stage(blobs: BlobStore, digest: str) -> dict[str, Tensor]:
    """Return a stage's tensors on the CPU, after verifying every byte.

    They do not depend on the file any more: a mapped file that is cut short would end the process that looks at it.
    Raises MissingBlob, CorruptBlob, or InvalidManifest where the blob is not a safetensors file.
    """
    data = blobs.read(digest)
    try:
        return load(bytes(data))
    except safetensors.SafetensorError as error:
        raise InvalidManifest(f"blob {digest} is not a safetensors file: {error}") from error


def _serialised(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the header, then each tensor's bytes: widest elements first, so that all stay aligned, then by name."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    yield _header({name: tensors[name] for name in names})
    for name in names:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    entries, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text.ljust(math.ceil(len(text) / _ALIGNMENT) * _ALIGNMENT)
    return len(padded).to_bytes(8, "little") + padded
