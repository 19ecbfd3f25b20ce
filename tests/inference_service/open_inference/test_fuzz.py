"""Whatever is sent as a request to infer is answered, or refused by a code that says whose mistake it was."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import grpc
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from maas.open_inference.v2 import open_inference_pb2 as pb

from inference_service.open_inference.tensors import InputTensor, joined, texts
from model_store.errors import InvalidInput
from tests.inference_service.inferring import OpenService, Output, arrays, ask_numbers, described, rows

REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,  # shared memory is off
    grpc.StatusCode.DEADLINE_EXCEEDED,
}

NAMES = st.sampled_from(["INPUT", "PIXELS", "IMAGE", "SCORES", "LOGITS", "EMBEDDING", "", "\0", "ü" * 200])

KEYS = st.sampled_from(
    [
        "timeout",
        "priority",
        "classification",
        "shared_memory_region",
        "shared_memory_byte_size",
        "shared_memory_offset",
        "triton_enable_empty_final_response",
        "other",
    ]
)

WHOLE = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 6, 64, 2**31, 2**63 - 1])

PARAMETERS = st.dictionaries(
    KEYS,
    st.one_of(
        st.builds(pb.InferParameter),
        st.builds(pb.InferParameter, int64_param=WHOLE),
        st.builds(pb.InferParameter, uint64_param=st.sampled_from([0, 1, 2**64 - 1])),
        st.builds(pb.InferParameter, string_param=st.text(max_size=5)),
        st.builds(pb.InferParameter, double_param=st.floats()),
        st.builds(pb.InferParameter, bool_param=st.booleans()),
    ),
    max_size=3,
)

CONTENTS = st.builds(
    pb.InferTensorContents,
    fp32_contents=st.lists(st.floats(width=32), max_size=6),
    uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=6),
    bytes_contents=st.lists(st.binary(max_size=5), max_size=2),
    int64_contents=st.lists(WHOLE, max_size=1),
)

TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=NAMES,
    datatype=st.sampled_from(["FP32", "FP16", "BF16", "UINT8", "BYTES", "INT64", ""]),
    shape=st.lists(WHOLE, max_size=5),
    parameters=PARAMETERS,
    contents=st.one_of(st.none(), CONTENTS),
)

REQUESTS = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from(["numbers", "flowers", "base", "cars", "", "/", "\0"]),
    model_version=st.sampled_from(["", "1", "2", "production", "٣", "-1", "latest/1"]),
    id=st.text(max_size=5),
    parameters=PARAMETERS,
    inputs=st.lists(TENSORS, max_size=2),
    outputs=st.lists(st.builds(Output, name=NAMES, parameters=PARAMETERS), max_size=2),
    raw_input_contents=st.lists(st.binary(max_size=30), max_size=2),
)


@given(REQUESTS)
@settings(max_examples=150)
def test_any_request_is_answered_or_refused(service: OpenService, request: pb.ModelInferRequest) -> None:
    """Never by a fault; a stream tells the same."""
    call = service.stub.ModelInfer.future(request, timeout=20)
    code = call.code()
    assert code in {grpc.StatusCode.OK, *REFUSALS}, call.details()
    (streamed,) = service.stub.ModelStreamInfer(iter([request]), timeout=20)
    assert streamed.error_message == ("" if code is grpc.StatusCode.OK else f"{code.name}: {call.details()}")


@given(
    st.integers(1, 8),
    st.sampled_from([("FP32", np.float32), ("FP16", np.float16)]),
    st.sets(st.sampled_from(["SCORES", "LOGITS", "EMBEDDING"])),
)
@settings(max_examples=25)
def test_right_requests_are_answered_in_their_form(
    service: OpenService, num_rows: int, form: tuple[str, Any], names: set[str]
) -> None:
    """Any number of rows, any outputs."""
    datatype, dtype = form
    tensor = described("INPUT", datatype, num_rows, 6)
    wanted = [Output(name=name) for name in sorted(names)]
    x = rows(num_rows).astype(dtype)
    found = arrays(service.infer("numbers", tensor, raw=[x.tobytes()], outputs=wanted))
    assert set(found) == (names or {"SCORES", "LOGITS", "EMBEDDING"})
    whole = arrays(service.stub.ModelInfer(ask_numbers(x.astype(np.float32))))
    for name, values in found.items():  # not to the bit: a short batch may run in another thread than one before
        np.testing.assert_allclose(values, whole[name], rtol=1e-5, atol=1e-7)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_texts_come_out_as_they_went_in(elements: list[bytes]) -> None:
    """Empty ones too."""
    assert texts(InputTensor("IMAGE", "BYTES", (len(elements),), joined(elements), "inputs[0]")).tolist() == elements


@given(st.integers(0, 3), st.binary(max_size=40))
def test_other_bytes_are_refused(count: int, data: bytes) -> None:
    """What is not refused means exactly these bytes."""
    elements = None
    with suppress(InvalidInput):
        elements = texts(InputTensor("IMAGE", "BYTES", (count,), data, "inputs[0]"))
    assert elements is None or (len(elements), joined(elements)) == (count, data)
