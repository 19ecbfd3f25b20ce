"""Examples as one blob: a safetensors file with the stored bytes of each, `example000`, `example001`, ….

A dataset keeps some of its test rows in such a pack. The versions that are trained on it are calibrated by the same
blob: nothing is copied, and the pack stays while a dataset or a version names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_store.errors import InvalidManifest
from model_store.tensors.safetensors_header import write_header

MAX_EXAMPLES = 64
MAX_PACK_BYTES = 64 * 1024 * 1024
"""Size limit of all examples of a pack, which an inference service reads and decodes before it serves a version."""
_PREFIX = "example"


def spread(num_rows: int, most: int) -> NDArray[np.int64]:
    """Return positions of rows: of a few all, of many an even spread from first to last."""
    return np.linspace(0, num_rows - 1, min(num_rows, most)).round().astype(np.int64)


def pack_header(sizes: Sequence[int]) -> bytes:
    """Return the header of a file of examples of these sizes, in order and without gaps."""
    return write_header({_name(position): ("U8", (size,)) for position, size in enumerate(sizes)})


def examples_in(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Return the bytes of each example in a blob's tensors, in order; none where its tensors are not examples.

    Raises InvalidManifest for more than 64, for other names beside them, and for tensors other than uint8 [bytes].
    """
    if not any(name.startswith(_PREFIX) for name in tensors):
        return {}
    if len(tensors) > MAX_EXAMPLES:
        raise InvalidManifest(f"must be 1 to {MAX_EXAMPLES} examples, not {len(tensors)}")
    names = [_name(position) for position in range(len(tensors))]
    if sorted(tensors) != names:
        raise InvalidManifest(f"must be named {names[0]} to {names[-1]}")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.uint8 or tensor.ndim != 1:
            raise InvalidManifest(f"{name} must be bytes, uint8 [n]")
    return {name: tensors[name].numpy().tobytes() for name in names}


def _name(position: int) -> str:
    return f"{_PREFIX}{position:03}"
