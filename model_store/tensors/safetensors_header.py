"""The header of a safetensors file: the place of each tensor, written canonically and read strictly.

Format: https://huggingface.co/docs/safetensors (8-byte little-endian header size, JSON header, tensors without gaps).
The writer is our own because a digest must depend on the tensors alone, and not on the order in which a release of the
library writes them. The reader is our own because the library's reader copies every tensor. The library reads each
accepted header as the same tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from model_store.errors import InvalidManifest

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E4M3FNUZ": 1, "F8_E5M2": 1, "F8_E5M2FNUZ": 1, "C64": 8,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""The dtypes of stages, and the bytes of one element."""

_SIZE_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_MAX_ELEMENTS = 2**63 - 1
_ALIGNMENT = 8


class Sliceable(Protocol):
    """Bytes in memory or in a mapped file."""

    def __getitem__(self, key: slice, /) -> bytes | bytearray:
        """Return some of the bytes."""

    def __len__(self) -> int:
        """Return the number of elements."""


@dataclass(frozen=True)
class TensorPlace:
    """A tensor's form, and where in the file its bytes start and end."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def write_header(forms: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """Return the header of tensors of these dtypes and shapes that follow in this order, padded to whole words."""
    entries, offset = {}, 0
    for name, (dtype, shape) in forms.items():
        end = offset + math.prod(shape) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text.ljust(math.ceil(len(text) / _ALIGNMENT) * _ALIGNMENT)
    return len(padded).to_bytes(_SIZE_BYTES, "little") + padded


def read_header(file: Sliceable) -> dict[str, TensorPlace]:
    """Return where each tensor of a whole file is, in the order of the bytes.

    Raises InvalidManifest unless every byte after the header belongs to exactly one tensor, whose shape and dtype need
    that many, and all names differ.
    """
    size = int.from_bytes(file[:_SIZE_BYTES], "little")
    start = _SIZE_BYTES + size
    _check(len(file) >= _SIZE_BYTES, "the header", "is missing")
    _check(size <= _MAX_HEADER_BYTES, "the header", f"must have at most {_MAX_HEADER_BYTES} bytes, not {size}")
    _check(start <= len(file), "the header", "is longer than the file")
    values = _parsed(bytes(file[_SIZE_BYTES:start]))
    _check_metadata(values.pop("__metadata__", {}))
    places = [(name, _place(repr(name), entry, start)) for name, entry in values.items()]
    places.sort(key=lambda each: (each[1].start, each[1].end))
    for name, place in places:
        _check(place.start == start, f"tensor {name!r}", "must start where the one before it ends")
        start = place.end
    _check(start == len(file), "the file", "must end where its last tensor ends")
    return dict(places)


def _parsed(header: bytes) -> dict[str, Any]:
    _check(header.startswith(b"{"), "the header", "must start with '{'")
    try:
        values = json.loads(header.decode(), object_pairs_hook=_without_repeats, parse_int=_natural)
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair is JSON and no text
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"the header is not the JSON of a safetensors file: {error}") from error
    parsed: dict[str, Any] = values
    return parsed


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is there twice")
    return values


def _natural(digits: str) -> int:
    if digits.startswith("-"):
        raise ValueError(f"{digits} is negative")
    return int(digits)


def _check_metadata(values: Any) -> None:  # noqa: ANN401  whatever the JSON held
    texts = isinstance(values, dict) and all(isinstance(value, str) for value in values.values())
    _check(texts, "__metadata__", "must map names to texts")


def _place(name: str, entry: Any, data: int) -> TensorPlace:  # noqa: ANN401  whatever the JSON held
    where = f"tensor {name}"
    _check(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}, where, "has other keys")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    _check(isinstance(dtype, str) and dtype in ITEM_BYTES, where, f"has dtype {dtype}, which no stage can have")
    _check(_are_numbers(shape) and _are_numbers(offsets) and len(offsets) == 2, where, "has no shape or no offsets")
    _check(math.prod(max(each, 1) for each in shape) <= _MAX_ELEMENTS, where, "has too many elements")
    start, end = offsets
    _check(end - start == math.prod(shape) * ITEM_BYTES[dtype], where, f"needs other than {end - start} bytes")
    return TensorPlace(dtype, tuple(shape), data + start, data + end)


def _are_numbers(values: Any) -> bool:  # noqa: ANN401  whatever the JSON held
    return isinstance(values, list) and all(type(each) is int for each in values)


def _check(holds: bool, place: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"{place} {rule}")
