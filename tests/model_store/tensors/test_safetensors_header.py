"""Safetensors files: ours and the library's are read alike, and what is no such file is refused as that."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from model_store.errors import InvalidManifest
from model_store.tensors.safetensors_header import read_header
from model_store.tensors.stages import _serialised, _tensor

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16,
    torch.uint8, torch.bool,
]  # fmt: skip
FORMS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
    max_size=6,
)


@given(forms=FORMS, metadata=st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), min_size=1))
@settings(max_examples=200)
def test_what_the_library_writes_is_read(
    forms: dict[str, tuple[torch.dtype, list[int]]], metadata: dict[str, str] | None
) -> None:
    """Whatever the names, dtypes and shapes, and however its tensors are aligned."""
    tensors = made(forms)
    assert_equal(ours(save(tensors, metadata=metadata)), tensors)


@given(forms=FORMS)
@settings(max_examples=200)
def test_the_library_reads_what_is_written(forms: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    """Both read the same tensors from our files."""
    tensors = made(forms)
    file = b"".join(bytes(chunk) for chunk in _serialised(tensors))
    assert_equal(load(file), tensors)
    assert_equal(ours(file), tensors)


@given(data=st.data(), forms=FORMS)
@settings(max_examples=1000)
def test_a_damaged_file_is_refused_or_read_as_the_library_reads_it(
    data: st.DataObject, forms: dict[str, tuple[torch.dtype, list[int]]]
) -> None:
    """Bytes of the header are overwritten, cut out and put in: nothing but InvalidManifest is ever raised."""
    file = bytearray(b"".join(bytes(chunk) for chunk in _serialised(made(forms))))
    length = 8 + int.from_bytes(file[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, length))
        end = data.draw(st.integers(start, start + 4))
        file[start:end] = data.draw(st.binary(max_size=4) | st.sampled_from([b"0", b"-1", b"1e3", b'"a":', b"[", b"}"]))
    try:
        found = ours(bytes(file))
    except InvalidManifest:
        return
    assert_equal(found, load(bytes(file)))


def entry(dtype: Any = "U8", shape: Any = (4,), offsets: Any = (0, 4)) -> dict[str, Any]:
    """Return what a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def file_of(header: Any, data: bytes = bytes(4)) -> bytes:
    """Return a file with this header, which is JSON or the text itself."""
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "header is missing"),
        (bytes(7), "header is missing"),
        ((100_000_001).to_bytes(8, "little") + bytes(9), "at most 100000000 bytes"),
        (b"\xff" * 16, "at most 100000000 bytes"),
        ((9).to_bytes(8, "little") + b"{}", "longer than the file"),
        (file_of(""), "start with '{'"),
        (file_of(" {}"), "start with '{'"),
        (file_of("[]"), "start with '{'"),
        (file_of("{" * 100_000), "not the JSON"),
        (file_of('{"a":' + "[" * 100_000), "not the JSON"),
        (file_of('{"a": ' + "9" * 5000 + "}"), "not the JSON"),
        (file_of('{"\\ud800": 1}'), "not the JSON"),
        (file_of('{"a": {}, "a": {}}'), "there twice"),
        (file_of('{"__metadata__": {}, "__metadata__": {}}'), "there twice"),
        (file_of({"__metadata__": {"a": 1}}), "__metadata__ must map"),
        (file_of({"__metadata__": []}), "__metadata__ must map"),
        (file_of({"a": 1}), "other keys"),
        (file_of({"a": {**entry(), "more": 1}}), "other keys"),
        (file_of({"a": entry(dtype="F4")}), "dtype F4"),
        (file_of({"a": entry(dtype=["U8"])}), "dtype"),
        (file_of({"a": entry(shape=[-4])}), "negative"),
        (file_of({"a": entry(shape=[True, 4])}), "no shape"),
        (file_of({"a": entry(shape=[4.0])}), "no shape"),
        (file_of({"a": entry(shape=4)}), "no shape"),
        (file_of({"a": entry(offsets=[0, 4, 4])}), "no offsets"),
        (file_of({"a": entry(shape=[5])}), "needs other than 4 bytes"),
        (file_of({"a": entry(dtype="F32", shape=[2])}), "needs other than 4 bytes"),
        (file_of({"a": entry(offsets=[4, 0])}), "needs other than"),
        (file_of({"a": entry(shape=[0, 2**63], offsets=[0, 0])}, b""), "too many elements"),
        (file_of({"a": entry(shape=[2**40, 2**40, 0], offsets=[0, 0])}, b""), "too many elements"),
        (file_of({"a": entry(), "b": entry()}), "'b' must start where"),
        (file_of({"a": entry(offsets=[1, 5])}, bytes(5)), "'a' must start where"),
        (file_of({"a": entry(), "b": entry(offsets=[5, 9])}, bytes(9)), "'b' must start where"),
        (file_of({"a": entry()}, bytes(3)), "must end where"),
        (file_of({"a": entry()}, bytes(5)), "must end where"),
        (file_of({}, b"more"), "must end where"),
    ],
)
def test_a_header_that_is_wrong_is_explained(file: bytes, reason: str) -> None:
    """Gaps, overlaps, forms that need other sizes, and everything that is not a header."""
    with pytest.raises(InvalidManifest, match=reason):
        read_header(file)


def made(forms: dict[str, tuple[torch.dtype, list[int]]]) -> dict[str, Tensor]:
    """Return tensors of these forms, no two elements of a small one alike."""
    return {
        name: (torch.arange(torch.Size(shape).numel()) % 2 == 0 if dtype == torch.bool else _counted(shape, dtype))
        .reshape(shape)
        .clone()
        for name, (dtype, shape) in forms.items()
    }


def _counted(shape: list[int], dtype: torch.dtype) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).to(dtype)


def ours(file: bytes) -> dict[str, Tensor]:
    """Read a file's tensors as a stage's are read."""
    data = bytearray(file)
    return {name: _tensor(data, place) for name, place in read_header(data).items()}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Check that names, dtypes, shapes and bytes are the same."""
    assert {name: (each.dtype, each.shape) for name, each in found.items()} == {
        name: (each.dtype, each.shape) for name, each in wanted.items()
    }
    for name, tensor in found.items():
        there = wanted[name].contiguous()
        assert bytes(tensor.reshape(-1).view(torch.uint8)) == bytes(there.reshape(-1).view(torch.uint8))
