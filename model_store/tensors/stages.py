"""Stages as blobs: tensors to canonical safetensors bytes and back, several stages concurrently.

Hashing, copying and disk access run without the interpreter's lock: a few threads over the stages of a model use the
cores and the disk together.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model_store.blobs import BlobStore, StoredBlob
from model_store.errors import InvalidManifest
from model_store.tensors.safetensors_header import Sliceable, TensorPlace, read_header, write_header

_TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_DTYPES = {dtype: name for name, dtype in _TORCH_DTYPES.items()}
_NUM_THREADS = min(8, (os.cpu_count() or 1) + 1)  # one waits for the disk while the others hash
_MAPPED_BYTES = 1024 * 1024
_NOT_FINITE = "has numbers that are not finite: its training diverged"

T = TypeVar("T")
TensorForm = tuple[torch.Size, torch.dtype]


def write_stage(blobs: BlobStore, tensors: Mapping[str, Tensor]) -> StoredBlob:
    """Store a stage's tensors (any shapes, any device) as one blob; equal tensors give the equal digest.

    Raises InvalidManifest for a dtype that safetensors has no name for, and StorageFull.
    """
    return blobs.put(_serialised(tensors))


def write_stages(blobs: BlobStore, stages: Mapping[str, Mapping[str, Tensor]]) -> dict[str, StoredBlob]:
    """Store several stages by name, as `write_stage` does; after an error some of them may be stored."""
    largest_first = sorted(stages, key=lambda name: -sum(tensor.nbytes for tensor in stages[name].values()))
    stored = _each(lambda name: write_stage(blobs, stages[name]), largest_first)
    return {name: stored[name] for name in stages}


def check_finite(stage: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise InvalidManifest naming a tensor of a stage with NaN or infinite numbers.

    The answers of a version would not reveal it: an activation that oneDNN fuses with its convolution turns NaN into 0.
    """
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InvalidManifest(f"{name} of stage {stage} {_NOT_FINITE}")


def read_stage(blobs: BlobStore, digest: str) -> dict[str, Tensor]:
    """Return a stage's tensors on the CPU, after verifying every byte.

    All are views of one buffer in memory, which lives as long as one of them. They do not depend on the file: a mapped
    file that is cut short would end the process that looks at it.
    Raises MissingBlob, CorruptBlob, or InvalidManifest where the blob is not a safetensors file.
    """
    data = blobs.read_into(_memory, digest)
    return {name: _tensor(data, place) for name, place in _places(digest, data).items()}


def read_stages(blobs: BlobStore, digests: Iterable[str]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of several stages by digest, as `read_stage` does."""
    # Of most networks the last stages are the largest: begun first, they do not end alone.
    return _each(lambda digest: read_stage(blobs, digest), reversed(list(digests)))


def read_forms(blobs: BlobStore, digests: Iterable[str]) -> dict[str, dict[str, TensorForm]]:
    """Return shapes and dtypes of several stages' tensors after verifying every byte, without taking them into memory.

    Raises the errors of `read_stage`, and InvalidManifest for a float32 number that is not finite.
    """
    return _each(lambda digest: _forms(blobs, digest), digests)


def _each(work: Callable[[str], T], keys: Iterable[str]) -> dict[str, T]:
    """Do the work for every key, a few at once; after the first error no other is begun."""
    distinct = list(dict.fromkeys(keys))
    if len(distinct) == 1:  # a probe's head: starting threads takes longer than reading it
        return {distinct[0]: work(distinct[0])}
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        return dict(zip(distinct, threads.map(work, distinct), strict=True))


def _forms(blobs: BlobStore, digest: str) -> dict[str, TensorForm]:
    with blobs.map(digest) as file:
        places = _places(digest, file)
        for name, place in places.items():
            if place.dtype == "F32" and not _is_finite(file, place):
                raise InvalidManifest(f"{name} in blob {digest} {_NOT_FINITE}")
    return {name: (torch.Size(place.shape), _TORCH_DTYPES[place.dtype]) for name, place in places.items()}


def _is_finite(file: mmap.mmap, place: TensorPlace) -> bool:
    """Say whether all float32 numbers of a tensor are finite, some at a time."""
    return all(
        np.isfinite(np.frombuffer(file[start : min(start + _MAPPED_BYTES, place.end)], np.float32)).all()
        for start in range(place.start, place.end, _MAPPED_BYTES)
    )


def _places(digest: str, file: Sliceable) -> dict[str, TensorPlace]:
    try:
        return read_header(file)
    except InvalidManifest as error:
        raise InvalidManifest(f"blob {digest} is not a safetensors file of a stage: {error}") from error


def _memory(size: int) -> bytearray | mmap.mmap:
    """Return memory for a blob; a large one's is not zeroed by the interpreter, which would hold its lock meanwhile."""
    if size < _MAPPED_BYTES:
        return bytearray(size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _tensor(data: bytearray | mmap.mmap, place: TensorPlace) -> Tensor:
    dtype = _TORCH_DTYPES[place.dtype]
    if place.start == place.end:
        return torch.empty(place.shape, dtype=dtype)
    start, size = place.start, place.end - place.start
    if start % dtype.itemsize:  # only in files of other writers; memory must be aligned
        data, start = bytearray(data[start : place.end]), 0
    return torch.frombuffer(data, dtype=dtype, count=size // dtype.itemsize, offset=start).reshape(place.shape)


def _serialised(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the header, then each tensor's bytes: widest elements first, so that all stay aligned, then by name."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    yield write_header({name: (_dtype_name(name, tensors[name]), tuple(tensors[name].shape)) for name in names})
    for name in names:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data


def _dtype_name(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in _DTYPES:
        raise InvalidManifest(f"tensor {name!r} has dtype {tensor.dtype}, which a stage cannot have")
    return _DTYPES[tensor.dtype]
