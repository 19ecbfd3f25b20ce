"""The elements of a tensor as they are sent: raw bytes or typed lists, read without a needless copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model_store.errors import InvalidInput
from model_store.modalities.spec import Numbers as Values

_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Contents:
    """Elements in the message's own list, which is called `kind`."""

    kind: str
    values: Sequence[float] | Sequence[bytes]


@dataclass(frozen=True)
class InputTensor:
    """One input of a request. `data` is raw bytes, or typed contents; `place` says where in the request it stands."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | Contents
    place: str

    def refused(self, rule: str) -> InvalidInput:
        """Build the error for this input."""
        return InvalidInput.of(self.place, f"{self.name} {rule}")


# The numeric types of inputs: the layout of an element in raw bytes (little-endian on every machine) and its typed
# list. Half floats have no typed list. NumPy has no BF16: its bits are read.
_RAW: dict[str, DTypeLike] = {"UINT8": "<u1", "INT64": "<i8", "FP32": "<f4", "FP16": "<f2", "BF16": "<u2"}
_TYPED: dict[str, tuple[str, DTypeLike]] = {
    "UINT8": ("uint_contents", np.uint32),
    "INT64": ("int64_contents", np.int64),
    "FP32": ("fp32_contents", np.float32),
}


def floats(tensor: InputTensor) -> Values:
    """Return the elements of an FP32, FP16 or BF16 tensor in its shape; raw FP32 is a view of its bytes."""
    array = _numbers(tensor)
    if tensor.datatype == "BF16":
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array.astype(np.float32, copy=False)


def uint8s(tensor: InputTensor) -> NDArray[np.uint8]:
    """Return the elements of a UINT8 tensor in its shape; raw ones are a view of their bytes."""
    array = _numbers(tensor)
    if array.dtype != np.uint8 and array.max(initial=0) > 255:
        raise tensor.refused("must have elements of 0 to 255")
    return array.astype(np.uint8, copy=False)


def int64s(tensor: InputTensor) -> NDArray[np.int64]:
    """Return the elements of an INT64 tensor in its shape; raw ones are a view of their bytes."""
    return _numbers(tensor).astype(np.int64, copy=False)


def texts(tensor: InputTensor) -> NDArray[np.object_]:
    """Return the elements of a BYTES tensor, each as bytes."""
    if isinstance(tensor.data, bytes):
        return np.array(_split(tensor, tensor.data), np.object_)
    elements = _typed(tensor, tensor.data, "bytes_contents")
    return np.array([bytes(each) for each in elements], np.object_)  # type: ignore[arg-type]


def joined(elements: Sequence[bytes]) -> bytes:
    """Return the raw bytes of a BYTES tensor: each element behind its length."""
    return b"".join(len(each).to_bytes(_LENGTH_BYTES, "little") + each for each in elements)


def _numbers(tensor: InputTensor) -> NDArray[np.generic]:
    if isinstance(tensor.data, bytes):
        dtype = np.dtype(_RAW[tensor.datatype])
        size = math.prod(tensor.shape) * dtype.itemsize
        if len(tensor.data) != size:
            form = f"{' x '.join(map(str, tensor.shape))} of {tensor.datatype}"
            raise tensor.refused(f"must have {size} raw bytes for {form}, not {len(tensor.data)}")
        return np.frombuffer(tensor.data, dtype).reshape(tensor.shape)
    if tensor.datatype not in _TYPED:
        raise tensor.refused(f"is {tensor.datatype}, which no typed contents take: send raw_input_contents")
    kind, number = _TYPED[tensor.datatype]
    values = _typed(tensor, tensor.data, kind)
    return np.fromiter(values, number, len(values)).reshape(tensor.shape)


def _typed(tensor: InputTensor, contents: Contents, kind: str) -> Sequence[float] | Sequence[bytes]:
    count = math.prod(tensor.shape)
    if contents.kind not in {"", kind}:
        raise tensor.refused(f"is {tensor.datatype}, whose elements go into contents.{kind}, not {contents.kind}")
    if len(contents.values) != count:
        raise tensor.refused(f"must have {count} elements in contents.{kind} for its shape, not {len(contents.values)}")
    return contents.values


def _split(tensor: InputTensor, data: bytes) -> list[bytes]:
    """Split raw BYTES into elements: each follows its length, and nothing follows the last one."""
    count = math.prod(tensor.shape)
    elements: list[bytes] = []
    position = 0
    while position < len(data) and len(elements) < count:
        start = position + _LENGTH_BYTES
        end = start + int.from_bytes(data[position:start], "little")
        if end > len(data):
            raise tensor.refused(f"has an element, number {len(elements)}, that ends behind its {len(data)} raw bytes")
        elements.append(data[start:end])
        position = end
    if len(elements) != count or position != len(data):
        raise tensor.refused(
            f"must have {count} elements in its raw bytes, each behind its length as 4 bytes, and nothing else: "
            f"{len(elements)} take {position} of {len(data)} bytes"
        )
    return elements
