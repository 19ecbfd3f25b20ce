"""Inputs that a model cannot take, each refused with its place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from maas.open_inference.v2 import open_inference_pb2 as pb

from tests.inference_service.inferring import (
    Input,
    OpenService,
    ask_numbers,
    described,
    packed,
    serving_models,
)
from tests.inference_service.making import photo
from tests.inference_service.open_inference.codes import INVALID
from tests.inference_service.open_inference.infer_inputs import CROP, X, with_odd
from tests.inference_service.running import refused
from tests.odd_images import PALETTE_WITHOUT_COLOURS


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    """A service that takes 8 examples a request."""
    with serving_models(tmp_path_factory.mktemp("home"), max_examples_per_request=8) as serving:
        yield serving


@pytest.mark.parametrize(
    ("tensors", "raw", "text"),
    [
        ([], [], "inputs: must be INPUT, not none"),
        ([described("OUTPUT", "FP32", 2, 6)], [X.tobytes()], "inputs: must be INPUT, not 'OUTPUT'"),
        ([described("INPUT", "FP32", 2, 6)] * 2, [X.tobytes()] * 2, "must be INPUT, not 'INPUT, INPUT'"),
        (
            [described("INPUT", "INT64", 2, 6)],
            [bytes(96)],
            "inputs[0]: INPUT must be FP32 or FP16 or BF16, not 'INT64'",
        ),
        ([described("INPUT", "", 2, 6)], [X.tobytes()], "INPUT must be FP32 or FP16 or BF16, not ''"),
        (
            [described("INPUT", "FP32", 2, 6)],
            [with_odd(np.nan)],
            "inputs[0]: INPUT: row 1 has NaN or infinity",
        ),
        ([described("INPUT", "FP32", 2, 6)], [with_odd(np.inf)], "row 1 has NaN or infinity"),
        ([described("INPUT", "FP32", 2, 6)], [with_odd(-np.inf)], "row 1 has NaN or infinity"),
        ([described("INPUT", "FP16", 1, 6)], [np.full((1, 6), np.nan, "<f2").tobytes()], "row 0 has NaN"),
        ([described("INPUT", "BF16", 1, 6)], [b"\x80\x7f" * 6], "row 0 has NaN or infinity"),
        ([described("INPUT", "FP32", 2, 5)], [X.tobytes()], "[n, 6] with n of 1 to 8, not '[2, 5]'"),
        ([described("INPUT", "FP32", 12)], [X.tobytes()], "[n, 6] with n of 1 to 8, not '[12]'"),
        ([described("INPUT", "FP32")], [X.tobytes()], "not '[]'"),
        ([described("INPUT", "FP32", 0, 6)], [b""], "not '[0, 6]'"),
        ([described("INPUT", "FP32", 9, 6)], [bytes(216)], "not '[9, 6]'"),
        ([described("INPUT", "FP32", -2, -6)], [X.tobytes()], "not '[-2, -6]'"),
        ([described("INPUT", "FP32", *[1] * 5000)], [X.tobytes()], "..."),
        ([described("INPUT", "FP32", 2, 6)], [X.tobytes()[:-1]], "must have 48 raw bytes for 2 x 6 of FP32, not 47"),
        ([described("INPUT", "FP32", 2, 6)], [X.tobytes() + b"x"], "48 raw bytes for 2 x 6 of FP32, not 49"),
        ([described("INPUT", "FP32", 2, 6)], [X.tobytes()] * 2, "raw_input_contents: must have one entry"),
        (
            [described("INPUT", "FP32", 2, 6)],
            [],
            "must have 12 elements in contents.fp32_contents for its shape, not 0",
        ),
    ],
)
def test_what_a_model_of_numbers_cannot_take_is_explained(
    service: OpenService, tensors: list[Input], raw: list[bytes], text: str
) -> None:
    """Which input, what was expected, and what was found."""
    with refused(INVALID, text):
        service.infer("numbers", *tensors, raw=raw)
    assert service.stub.ModelInfer(ask_numbers(X)).outputs


@pytest.mark.parametrize(
    ("lists", "text"),
    [
        ({"fp32_contents": [0.0] * 11}, "must have 12 elements in contents.fp32_contents for its shape, not 11"),
        (
            {"fp64_contents": [0.0] * 12},
            "INPUT is FP32, whose elements go into contents.fp32_contents, not fp64_contents",
        ),
        ({"fp32_contents": [0.0] * 12, "int_contents": [1]}, "has elements in int_contents and fp32_contents"),
    ],
)
def test_typed_contents_go_into_the_right_list(service: OpenService, lists: dict[str, list[float]], text: str) -> None:
    """As many as the shape says, in one list."""
    with refused(INVALID, text):
        service.infer("numbers", described("INPUT", "FP32", 2, 6, contents=pb.InferTensorContents(**lists)))


def test_raw_and_typed_contents_do_not_mix(service: OpenService) -> None:
    """Not even where the typed ones are empty."""
    tensor = described("INPUT", "FP32", *X.shape, contents=pb.InferTensorContents())
    with refused(INVALID, "inputs[0]: 'INPUT' has contents beside raw_input_contents"):
        service.infer("numbers", tensor, raw=[X.tobytes()])


@pytest.mark.parametrize(
    ("tensor", "raw", "text"),
    [
        (described("INPUT", "FP32", 1, 3, 60, 60), bytes(43200), f"[n, 3, {CROP}, {CROP}]"),
        (described("INPUT", "FP32", 1, CROP, CROP, 3), bytes(49152), "INPUT must have the shape"),
        (described("PIXELS", "UINT8", 1, 9, 9, 4), bytes(324), "PIXELS must have the shape [n, any, any, 3]"),
        (described("PIXELS", "UINT8", 1, 0, 9, 3), b"", "PIXELS must have the shape"),
        (described("PIXELS", "FP32", 1, 9, 9, 3), bytes(972), "PIXELS must be UINT8, not 'FP32'"),
        (described("PIXELS", "UINT8", 1, 2**62, 2**62, 3), b"x", "raw bytes for 1 x"),
        (described("PIXELS", "UINT8", 2, 1, 90, 3), bytes(540), "inputs[0].PIXELS[0]: 90 x 1 pixels: one edge"),
        (described("IMAGE", "BYTES", 1), packed(b"no image"), "inputs[0].IMAGE[0]: not an image"),
        (described("IMAGE", "BYTES", 2), packed(photo(1), b""), "inputs[0].IMAGE[1]: not an image"),
        (described("IMAGE", "BYTES", 2), packed(photo(1), PALETTE_WITHOUT_COLOURS), "inputs[0].IMAGE[1]: damaged"),
        (described("IMAGE", "BYTES", 2), packed(photo(1)), "IMAGE must have 2 elements"),
        (described("IMAGE", "BYTES", 1), packed(photo(1), photo(2)), "IMAGE must have 1 elements"),
        (described("IMAGE", "BYTES", 1), packed(photo(1)) + b"\0", "IMAGE must have 1 elements"),
        (described("IMAGE", "BYTES", 1), packed(photo(1))[:-1], "IMAGE has an element, number 0, that ends behind"),
        (described("IMAGE", "BYTES", 1), b"\1\0", "IMAGE has an element, number 0, that ends behind"),
        (described("IMAGE", "BYTES", 1, 2), packed(photo(1), photo(1)), "IMAGE must have the shape [n]"),
        (described("IMAGE", "UINT8", 1), b"x", "IMAGE must be BYTES, not 'UINT8'"),
    ],
)
def test_what_a_model_of_images_cannot_take_is_explained(
    service: OpenService, tensor: Input, raw: bytes, text: str
) -> None:
    """Which input, what was expected, and what was found; an image that is wrong is named by its number."""
    with refused(INVALID, text):
        service.infer("flowers", tensor, raw=[raw])


def test_one_of_the_three_inputs_must_do(service: OpenService) -> None:
    """Two are one too many."""
    both = [described("IMAGE", "BYTES", 1), described("PIXELS", "UINT8", 1, 9, 9, 3)]
    with refused(INVALID, "inputs: must be exactly one of INPUT, PIXELS, IMAGE, not 'IMAGE, PIXELS'"):
        service.infer("flowers", *both, raw=[packed(photo(1)), bytes(243)])
