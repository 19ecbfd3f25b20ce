"""What the tests of the Open Inference Protocol send, and how they read what comes back."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from maas.open_inference.v2 import open_inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2_grpc
from numpy.typing import NDArray
from PIL import Image

from model_store.bases.catalogue import LoadedBase
from tests.inference_service.making import Recipe, mlp, open_registry
from tests.inference_service.running import RunningService, running_service

PROBE, BACKBONE = Recipe(head=1), Recipe(head=None)
NUMBERS: LoadedBase = mlp()
DTYPES = {"FP32": "<f4", "UINT8": "<u1", "FP16": "<f2", "BF16": "<u2"}

Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor
Parameter = pb.InferParameter


@dataclass(frozen=True)
class OpenService:
    """A service, the protocol's stub of it, and the folder of its store."""

    home: Path
    running: RunningService
    stub: open_inference_pb2_grpc.GRPCInferenceServiceStub

    def infer(self, model: str, *tensors: Input, raw: Sequence[bytes] = (), **more: Any) -> pb.ModelInferResponse:
        """Send a request and return its answer."""
        return self.stub.ModelInfer(request(model, *tensors, raw=raw, **more), timeout=20)

    @contextmanager
    def busy_device(self) -> Iterator[None]:
        """Keep the device busy until the block ends; it is so when the block begins."""
        begun, free = threading.Event(), threading.Event()

        def hold() -> bool:
            begun.set()
            return free.wait(20)

        busy = self.running.server._scheduler._runner._device_threads.submit(hold)
        assert begun.wait(20)
        try:
            yield
        finally:
            free.set()
            assert busy.result()


@contextmanager
def serving_models(home: Path, **settings: Any) -> Iterator[OpenService]:
    """Serve a classifier `flowers`, a backbone `base` and a model of numbers `numbers`, until the block ends."""
    registry = open_registry(home)
    registry.publish(PROBE, model_id="flowers", alias="production")
    registry.publish(BACKBONE, model_id="base", alias=None)
    registry.publish_mlp(NUMBERS)
    with running_service(home, **settings) as running:
        running.await_serving()
        yield OpenService(home, running, open_inference_pb2_grpc.GRPCInferenceServiceStub(running.channel))


def request(model: str, *tensors: Input, raw: Sequence[bytes] = (), **more: Any) -> pb.ModelInferRequest:
    """Ask a model."""
    return pb.ModelInferRequest(model_name=model, inputs=tensors, raw_input_contents=raw, **more)


def described(name: str, datatype: str, *shape: int, **more: Any) -> Input:
    """Describe an input."""
    return Input(name=name, datatype=datatype, shape=shape, **more)


def rows(num_rows: int = 2, size: int = 6, seed: int = 0) -> NDArray[np.float32]:
    """Return rows of numbers."""
    return np.random.default_rng(seed).standard_normal((num_rows, size), np.float32)


def ask_numbers(x: NDArray[np.float32], **more: Any) -> pb.ModelInferRequest:
    """Ask the model of numbers, or another of its form, in raw bytes."""
    model = more.pop("model_name", "numbers")
    return request(model, described("INPUT", "FP32", *x.shape), raw=[x.tobytes()], **more)


def decoded(data: bytes) -> NDArray[np.uint8]:
    """Return an encoded image's pixels, as it is."""
    return np.asarray(Image.open(io.BytesIO(data)))


def packed(*elements: bytes) -> bytes:
    """Return the raw bytes of a BYTES tensor."""
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def unpacked(raw: bytes) -> list[bytes]:
    """Return the elements of raw BYTES."""
    elements = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        elements.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    return elements


def arrays(response: pb.ModelInferResponse) -> dict[str, NDArray[np.generic]]:
    """Return the outputs of an answer by name; they are raw, and each as long as its shape says."""
    assert len(response.outputs) == len(response.raw_output_contents)
    assert not any(output.HasField("contents") for output in response.outputs)
    return {
        output.name: np.frombuffer(raw, DTYPES[output.datatype]).reshape(output.shape)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def assert_same_outputs(answer: pb.ModelInferResponse, other: pb.ModelInferResponse) -> None:
    """Fail unless two answers have the same outputs; separate requests may differ in the last bits of a number."""
    found, wanted = arrays(answer), arrays(other)
    assert list(found) == list(wanted)
    for name, values in found.items():
        np.testing.assert_allclose(values, wanted[name], atol=1e-5)
