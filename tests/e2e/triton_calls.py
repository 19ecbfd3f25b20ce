"""Calls a service with NVIDIA's own client and prints what came back as JSON; a process of its own.

That client's messages have the names of ours, and one process can hold only one of both.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf.descriptor import Descriptor
from ml_dtypes import bfloat16
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException, shared_memory

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
MODEL = "numbers"
TIMEOUT = 20.0


def tensor(x: np.ndarray, name: str = "INPUT", datatype: str = "FP32") -> triton.InferInput:
    """Return an input with its data."""
    made = triton.InferInput(name, x.shape, datatype)
    made.set_data_from_numpy(x)
    return made


def outputs(result: triton.InferResult) -> dict[str, Any]:
    """Return every output as lists."""
    names = [output.name for output in result.get_response().outputs]
    return {name: result.as_numpy(name).tolist() for name in names}


def refusal(call: Any, *arguments: Any, **options: Any) -> tuple[str | None, str]:
    """Return the state and the text of the error that a call ends with."""
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        return error.status(), error.message()
    raise AssertionError("it did not fail")


def describe(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Ask all that a client can ask without sending a tensor."""
    client.load_model(MODEL)
    asked = ((MODEL, "1"), (MODEL, "9"), ("x", ""))
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready(name, version) for name, version in asked],
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata(MODEL, as_json=True),
        "config": client.get_model_config(MODEL, as_json=True),
        "index": client.get_model_repository_index(as_json=True),
        "trace": client.get_trace_settings(as_json=True),
        "log": client.update_log_settings({"log_verbose_level": 1}, as_json=True),
        "log_again": client.get_log_settings(as_json=True),
        "unload": unload(client),
        "tracing": refusal(client.update_trace_settings, settings={"trace_level": ["TIMESTAMPS"]}),
        "cuda": refusal(client.get_cuda_shared_memory_status),
    }


def unload(client: triton.InferenceServerClient) -> list[Any]:
    """Unload a model, ask it, and load it again."""
    client.unload_model(MODEL)
    found = [client.is_model_ready(MODEL), refusal(client.infer, MODEL, [tensor(X)])]
    client.load_model(MODEL)
    return [*found, client.is_model_ready(MODEL)]


def infer(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Send tensors in every type, and compressed; then ask what was counted."""
    result = client.infer(MODEL, [tensor(X)], request_id="7", model_version="1", timeout=5_000_000, priority=3)
    response = result.get_response()
    only = [triton.InferRequestedOutput("LOGITS")]
    halves = {
        "FP16": tensor(X.astype(np.float16), datatype="FP16"),
        "BF16": tensor(X.astype(bfloat16), datatype="BF16"),
    }
    return {
        "answer": [response.model_name, response.model_version, response.id],
        "outputs": outputs(result),
        "only": outputs(client.infer(MODEL, [tensor(X)], outputs=only)),
        "zipped": outputs(client.infer(MODEL, [tensor(X)], outputs=only, compression_algorithm="gzip")),
        "halves": {name: outputs(client.infer(MODEL, [each], outputs=only)) for name, each in halves.items()},
        "statistics": client.get_inference_statistics(MODEL, as_json=True),
    }


def load(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Send load as a generator does that knows no model: it fills every input that the server tells of."""
    found = {}
    for each in client.get_model_repository_index().models:
        metadata, config = client.get_model_metadata(each.name), client.get_model_config(each.name).config
        optional = {tensor.name: tensor.optional for tensor in config.input}
        shapes = {tensor.name: [2, *tensor.shape[1:]] for tensor in metadata.inputs if not optional[tensor.name]}
        dims = {tensor.name: list(tensor.dims) for tensor in config.input}
        given = [tensor(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]
        before = counts(client, each.name)
        for _ in range(10):
            client.infer(each.name, given, outputs=[triton.InferRequestedOutput(o.name) for o in metadata.outputs])
        after = counts(client, each.name)
        found[each.name] = {
            "shapes": shapes,
            "dims": dims,
            "counts": {name: after[name] - number for name, number in before.items()},
            "nanoseconds": {name: duration.ns for name, duration in durations(client, each.name).items()},
            "has_cache": config.response_cache.enable,
        }
    return found


def durations(client: triton.InferenceServerClient, model: str) -> dict[str, Any]:
    """Return what the requests to a model went through."""
    (statistics,) = client.get_inference_statistics(model).model_stats
    return {
        field.name: getattr(statistics.inference_stats, field.name)
        for field, _ in statistics.inference_stats.ListFields()
    }


def counts(client: triton.InferenceServerClient, model: str) -> dict[str, int]:
    """Return every count of a model."""
    (statistics,) = client.get_inference_statistics(model).model_stats
    found = {name: duration.count for name, duration in durations(client, model).items()}
    return found | {"inference": statistics.inference_count, "execution": statistics.execution_count}


def images(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Send an encoded image and its pixels."""
    with open(sys.argv[3], "rb") as file:  # noqa: PTH123  plain on purpose
        encoded = np.array([file.read()], dtype=np.object_)
    pixels = np.load(sys.argv[4])[None]
    wanted = [triton.InferRequestedOutput("SCORES")]
    return {
        "encoded": outputs(client.infer("flowers", [tensor(encoded, "IMAGE", "BYTES")], outputs=wanted)),
        "square": outputs(client.infer("flowers", [tensor(encoded[:, None], "IMAGE", "BYTES")], outputs=wanted)),
        "pixels": outputs(client.infer("flowers", [tensor(pixels, "PIXELS", "UINT8")], outputs=wanted)),
    }


def tasks(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Ask a model of each modality and task for all outputs that it tells of."""
    rows, encoded = np.load(sys.argv[3]), np.load(sys.argv[4], allow_pickle=False)
    files = np.array([each.tobytes() for each in np.split(encoded, np.load(sys.argv[5]))], dtype=np.object_)
    found = {}
    for each in client.get_model_repository_index().models:
        metadata = client.get_model_metadata(each.name)
        given = tensor(rows) if len(metadata.inputs[0].shape) == 2 else tensor(files, "IMAGE", "BYTES")
        found[each.name] = {
            "told": {output.name: list(output.shape) for output in metadata.outputs},
            "outputs": outputs(client.infer(each.name, [given])),
        }
    return found


def classify(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Ask for the best classes."""
    wanted = [triton.InferRequestedOutput("SCORES", class_count=2)]
    best = client.infer(MODEL, [tensor(X)], outputs=wanted).as_numpy("SCORES")
    return {"best": [[each.decode() for each in row] for row in best]}


def call_back(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Send requests without waiting, and take the answers in callbacks."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    for number in range(8):
        client.async_infer(
            MODEL, [tensor(X)], lambda result, error: answers.put((result, error)), request_id=str(number)
        )
    taken = [answers.get(timeout=TIMEOUT) for _ in range(8)]
    return {"ids": sorted(result.get_response().id for result, _ in taken), "errors": [str(e) for _, e in taken if e]}


def stream(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Send requests over one stream, one of which fails."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(20):
        model = "cars" if number == 5 else MODEL
        client.async_stream_infer(model, [tensor(X)], request_id=str(number), enable_empty_final_response=True)
    taken = [answers.get(timeout=TIMEOUT) for _ in range(20)]
    client.stop_stream()
    results = [result for result, _ in taken if result is not None]
    return {
        "ids": [result.get_response().id for result in results],
        "final": all(result.get_response().parameters["triton_final_response"].bool_param for result in results),
        "errors": [error.message() for _, error in taken if error is not None],
        "last": outputs(results[-1]),
    }


def share(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Send and take tensors through shared memory."""
    size = X.nbytes
    handle = shared_memory.create_shared_memory_region("both", "/maas-triton-client", size + 24)
    try:
        shared_memory.set_shared_memory_region(handle, [X])
        client.register_system_shared_memory("both", "/maas-triton-client", size + 24)
        status = client.get_system_shared_memory_status(as_json=True)
        given = triton.InferInput("INPUT", X.shape, "FP32")
        given.set_shared_memory("both", size)
        logits = triton.InferRequestedOutput("LOGITS")
        logits.set_shared_memory("both", 24, offset=size)
        result = client.infer(MODEL, [given], outputs=[logits, triton.InferRequestedOutput("SCORES")])
        output = result.get_output("LOGITS")
        written = shared_memory.get_contents_as_numpy(handle, np.float32, list(output.shape), offset=size)
        found = {"status": status, "logits": written.tolist(), "scores": result.as_numpy("SCORES").tolist()}
        client.unregister_system_shared_memory()
        return found | {"after": client.get_system_shared_memory_status(as_json=True)}
    finally:
        shared_memory.destroy_shared_memory_region(handle)


def fail(client: triton.InferenceServerClient) -> dict[str, Any]:
    """Make mistakes, and run out of time."""
    unknown = tensor(X, "OUTPUT")
    slow = tensor(np.zeros((32, 512, 512, 3), np.uint8), "PIXELS", "UINT8")  # a few numbers can be answered first
    return {
        "timeout": refusal(client.infer, MODEL, [tensor(X)], timeout=1),
        "client_timeout": refusal(client.infer, "flowers", [slow], client_timeout=1e-3),
        "model": refusal(client.infer, "no_such_model", [tensor(X)]),
        "version": refusal(client.infer, MODEL, [tensor(X)], model_version="9"),
        "input": refusal(client.infer, MODEL, [unknown]),
        "shape": refusal(client.infer, MODEL, [tensor(X[:, :5].copy())]),
        "output": refusal(client.infer, MODEL, [tensor(X)], outputs=[triton.InferRequestedOutput("SCORE")]),
    }


def call_on_a_loop(_: triton.InferenceServerClient) -> dict[str, Any]:
    """Use the client for asyncio: many requests at once, and a stream."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(10):
            yield {"model_name": "cars" if number == 5 else MODEL, "inputs": [tensor(X)], "request_id": str(number)}

    async def run() -> dict[str, Any]:
        async with triton_aio.InferenceServerClient(sys.argv[1]) as client:
            results = await asyncio.gather(*[client.infer(MODEL, [tensor(X)]) for _ in range(32)])
            streamed = [each async for each in client.stream_infer(requests(), stream_timeout=TIMEOUT)]
            return {
                "ready": await client.is_model_ready(MODEL),
                "equal": len({json.dumps(outputs(each)) for each in results}),
                "logits": outputs(results[0])["LOGITS"],
                "ids": [result.get_response().id for result, _ in streamed if result is not None],
                "errors": [error.message() for _, error in streamed if error is not None],
            }

    return asyncio.run(run())


def forms(_: triton.InferenceServerClient) -> dict[str, Any]:
    """Return every message, enumeration and RPC of the protocol as the client has them."""
    found: dict[str, Any] = {}

    def add(message: Descriptor) -> None:
        found[message.full_name] = {field.name: [field.number, field.type, _type_of(field)] for field in message.fields}
        found.update({each.full_name: dict(_values(each)) for each in message.enum_types})
        for nested in message.nested_types:
            add(nested)

    for module in (service_pb2, model_config_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            add(message)
        found.update({each.full_name: dict(_values(each)) for each in module.DESCRIPTOR.enum_types_by_name.values()})
    for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        streams = [method.client_streaming, method.server_streaming]
        found[method.full_name] = [method.input_type.full_name, method.output_type.full_name, *streams]
    return found


def _type_of(field: Any) -> str | None:
    named = field.message_type or field.enum_type
    return named.full_name if named else None


def _values(enum: Any) -> list[tuple[str, int]]:
    return [(value.name, value.number) for value in enum.values]


CALLS: Mapping[str, Any] = {
    each.__name__: each
    for each in (describe, infer, load, images, tasks, classify, call_back, stream, share, fail, call_on_a_loop, forms)
}

if __name__ == "__main__":
    with triton.InferenceServerClient(sys.argv[1]) as client:
        print(json.dumps(CALLS[sys.argv[2]](client)))  # noqa: T201  to the test
