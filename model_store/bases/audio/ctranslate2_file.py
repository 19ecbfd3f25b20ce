"""Reads the tensors of a CTranslate2 model file: plain arrays behind names, shapes and types; nothing is run.

The format, version 6 (`model_spec.py` of CTranslate2): the version, the name and revision of the model's kind, then
each tensor's name, rank, sizes, type and bytes. Numbers are little-endian, a text is its length in 16 bits and its
bytes.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import torch
from torch import Tensor

from model_store.errors import DamagedStore

_VERSION = 6
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_ctranslate2(data: bytes) -> dict[str, Tensor]:
    """Return all tensors by name; raise DamagedStore for another version, or a type that is not known."""
    file = io.BytesIO(data)
    if (version := _number(file, "I")) != _VERSION:
        raise DamagedStore(f"a model file of CTranslate2 has version {version}: this release of maas reads {_VERSION}")
    _text(file)
    _number(file, "I")
    return dict(_tensor(file) for _ in range(_number(file, "I")))


def _tensor(file: io.BytesIO) -> tuple[str, Tensor]:
    name = _text(file)
    shape = [_number(file, "I") for _ in range(_number(file, "B"))]
    kind = _number(file, "B")
    if kind not in _TYPES:
        raise DamagedStore(f"the tensor {name!r} has a type {kind}, which is not known")
    array = np.frombuffer(file.read(_number(file, "I")), np.dtype(_TYPES[kind]).newbyteorder("<"))
    return name, torch.from_numpy(array.astype(_TYPES[kind]).reshape(shape))


def _text(file: io.BytesIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()


def _number(file: io.BytesIO, kind: str) -> int:
    (number,) = struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))
    return int(number)
