"""NVIDIA's own client, in a process of its own, against the real service: it needs to know nothing of maas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from google.protobuf.descriptor import Descriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from maas.open_inference.v2 import open_inference_pb2 as pb

from grpc_runtime.child_process import command_of
from model_store.modalities import Batch
from tests.inference_service.inferring import NUMBERS, PROBE, decoded
from tests.inference_service.making import expected, open_registry, photo, pixels
from tests.inference_service.running import until
from tests.inference_service.tasks import MODALITIES, PHOTOS, ROWS, TASK_OF, by_hand, model_of, publish_tasks
from tests.missing import skip_or_fail

Call = Callable[..., dict[str, Any]]
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
CLIENT = Path(sys.prefix) / "tritonclient"
INSTALL = f"pip install --no-deps --target {CLIENT} --require-hashes -r requirements/tritonclient.txt"
SCRIPT = Path(__file__).with_name("triton_calls.py")


@pytest.fixture(scope="module", autouse=True)
def tritonclient() -> None:
    """The client, without which no test here can run."""
    if not CLIENT.is_dir():
        skip_or_fail("tritonclient", f"tritonclient is not installed: {INSTALL}")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service, a real process, with a classifier and a model of numbers."""
    home = tmp_path_factory.mktemp("home")
    registry = open_registry(home)
    registry.publish(PROBE, model_id="flowers")
    registry.publish_mlp(NUMBERS)
    with service(home) as address:
        yield address


@contextmanager
def service(home: Path) -> Iterator[str]:
    """Run the service on a store until the block ends."""
    environment = {
        "MAAS_HOME": str(home),
        "MAAS_INFERENCE_BIND": "127.0.0.1:0",
        "MAAS_INFERENCE_ADDRESS_FILE": str(home / "address"),
        "MAAS_INFERENCE_SHARED_MEMORY": "true",
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(command_of("inference_service"), env={**os.environ, **environment}) as process:
        try:
            until((home / "address").exists)
            address = (home / "address").read_text()
            with grpc.insecure_channel(address) as channel:
                asked = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
                for answer in health_pb2_grpc.HealthStub(channel).Watch(asked, timeout=30):
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        break
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


@pytest.fixture
def call(address: str) -> Call:
    """Run one of the script's functions and return what it found."""
    return partial(called, address)


def called(address: str, name: str, *arguments: Path) -> dict[str, Any]:
    """Run one of the script's functions against a service and return what it found."""
    command = [sys.executable, SCRIPT, address, name, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def logits(x: np.ndarray = X) -> torch.Tensor:
    """Run the model of numbers by hand."""
    with torch.inference_mode():
        return NUMBERS.chain(Batch.of(torch.from_numpy(x)))


def test_the_client_knows_the_server(call: Call) -> None:
    """Every question that it can ask is answered in the form that it reads."""
    found = call("describe")
    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, [True, False, False])
    assert found["server"]["name"] == "maas"
    assert {"classification", "statistics", "system_shared_memory"} <= set(found["server"]["extensions"])
    assert found["model"]["inputs"] == [{"name": "INPUT", "datatype": "FP32", "shape": ["-1", "6"]}]
    config = found["config"]["config"]
    assert (config["max_batch_size"], config["input"][0]["data_type"]) == (1024, "TYPE_FP32")
    assert {(each["name"], each["state"]) for each in found["index"]["models"]} == {
        ("flowers", "READY"),
        ("numbers", "READY"),
    }
    assert found["trace"]["settings"]["trace_level"]["value"] == ["OFF"]
    assert found["log"] == found["log_again"]
    assert found["log"]["settings"]["log_verbose_level"] == {"uint32_param": 1}
    before, (state, text), after = found["unload"]
    assert (before, state, after) == (False, "StatusCode.UNAVAILABLE", True)
    assert "models/numbers was unloaded" in text
    assert [found[each][0] for each in ("tracing", "cuda")] == ["StatusCode.UNIMPLEMENTED"] * 2


def test_tensors_of_every_type_are_inferred(call: Call) -> None:
    """Float32, both halves, and compressed; what ran was counted."""
    found = call("infer")
    assert found["answer"] == ["numbers", "1", "7"]
    np.testing.assert_allclose(found["outputs"]["LOGITS"], logits(), atol=1e-6)
    np.testing.assert_allclose(found["outputs"]["SCORES"], logits().softmax(dim=-1), atol=1e-6)
    assert set(found["outputs"]) == {"SCORES", "LOGITS", "EMBEDDING"}
    for asked in ("only", "zipped"):
        assert set(found[asked]) == {"LOGITS"}
        np.testing.assert_allclose(found[asked]["LOGITS"], logits(), atol=1e-6)
    for name, dtype in (("FP16", torch.float16), ("BF16", torch.bfloat16)):
        widened = torch.from_numpy(X).to(dtype).float().numpy()
        np.testing.assert_allclose(found["halves"][name]["LOGITS"], logits(widened), atol=1e-6)
    (statistics,) = found["statistics"]["model_stats"]
    assert int(statistics["inference_count"]) >= 10
    assert int(statistics["inference_stats"]["success"]["count"]) >= 5


def test_a_load_generator_needs_to_know_no_model(call: Call) -> None:
    """What it is told of inputs is enough to fill them, and the counts that it reads fit together."""
    found = call("load")
    assert set(found) == {"flowers", "numbers"}
    for each in found.values():
        assert {name: shape[1:] for name, shape in each["shapes"].items()} == each["dims"]
        assert all(size > 0 for shape in each["shapes"].values() for size in shape)
        names = ("success", "queue", "compute_input", "compute_infer", "compute_output")
        assert {each["counts"][name] for name in names} == {10}
        assert (each["counts"]["inference"], each["counts"]["fail"]) == (20, 0)
        assert min(each["nanoseconds"][name] for name in ("queue", "compute_infer", "compute_output")) > 0
        assert not each["has_cache"]


def test_images_are_inferred(call: Call, tmp_path: Path) -> None:
    """Encoded, in both shapes that its users send, and as pixels."""
    (tmp_path / "photo.png").write_bytes(photo(1))
    np.save(tmp_path / "pixels.npy", decoded(photo(1)))
    found = call("images", tmp_path / "photo.png", tmp_path / "pixels.npy")
    scores, _ = expected(PROBE, [pixels(photo(1))])
    for each in ("encoded", "square", "pixels"):
        np.testing.assert_allclose(found[each]["SCORES"], scores, atol=1e-5)


def test_each_task_has_outputs_of_its_own(tmp_path: Path) -> None:
    """Of images and rows of numbers: scores and logits where there are labels, values of targets, embeddings."""
    publish_tasks(open_registry(tmp_path))
    np.save(tmp_path / "rows.npy", ROWS)
    np.save(tmp_path / "files.npy", np.frombuffer(b"".join(PHOTOS), np.uint8))
    np.save(tmp_path / "ends.npy", np.cumsum([len(each) for each in PHOTOS])[:-1])
    with service(tmp_path) as address:
        found = called(address, "tasks", *(tmp_path / f"{name}.npy" for name in ("rows", "files", "ends")))
    assert set(found) == {model_of(modality, kind) for modality in MODALITIES for kind in TASK_OF}
    for modality in MODALITIES:
        logits, embedding = by_hand(modality)
        activated = {"classification": (logits / 2).softmax(dim=-1), "multi_label": (logits / 0.5).sigmoid()}
        for kind in TASK_OF:
            each = found[model_of(modality, kind)]
            wanted = {"VALUES": logits} if kind == "regression" else {"SCORES": activated[kind], "LOGITS": logits}
            wanted["EMBEDDING"] = embedding
            assert each["told"] == {name: [-1, values.shape[1]] for name, values in wanted.items()}
            for name, values in wanted.items():
                np.testing.assert_allclose(each["outputs"][name], values, rtol=1e-4, atol=1e-5)


def test_the_best_classes_are_named(call: Call) -> None:
    """Value, index and label, best first."""
    for row, best in zip(logits().softmax(dim=-1), call("classify")["best"], strict=True):
        for text, (value, index) in zip(best, zip(*(each.tolist() for each in row.topk(2)), strict=True), strict=True):
            number, *rest = text.split(":")
            assert (float(number), rest) == (pytest.approx(value, abs=1e-6), [str(index), f"class {index}"])


def test_answers_come_by_callback(call: Call) -> None:
    """Each request once."""
    assert call("call_back") == {"ids": [str(number) for number in range(8)], "errors": []}


def test_a_stream_keeps_its_order(call: Call) -> None:
    """A request that fails is told, and the others are answered."""
    found = call("stream")
    assert found["ids"] == [str(number) for number in range(20) if number != 5]
    assert found["final"]
    (error,) = found["errors"]
    assert error.startswith("NOT_FOUND: models/cars")
    np.testing.assert_allclose(found["last"]["LOGITS"], logits(), atol=1e-6)


def test_tensors_go_through_shared_memory(call: Call) -> None:
    """In both directions; what is not asked for there comes over the wire."""
    found = call("share")
    region = {"name": "both", "key": "/maas-triton-client", "byte_size": "72"}
    assert found["status"] == {"regions": {"both": region}}
    np.testing.assert_allclose(found["logits"], logits(), atol=1e-6)
    np.testing.assert_allclose(found["scores"], logits().softmax(dim=-1), atol=1e-6)
    assert found["after"] == {}


def test_mistakes_are_told_by_their_codes(call: Call) -> None:
    """As the client shows them."""
    found = call("fail")
    assert {name: code for name, (code, _) in found.items()} == {
        "timeout": "StatusCode.DEADLINE_EXCEEDED",
        "client_timeout": "StatusCode.DEADLINE_EXCEEDED",
        "model": "StatusCode.NOT_FOUND",
        "version": "StatusCode.NOT_FOUND",
        "input": "StatusCode.INVALID_ARGUMENT",
        "shape": "StatusCode.INVALID_ARGUMENT",
        "output": "StatusCode.INVALID_ARGUMENT",
    }
    assert "[n, 6]" in found["shape"][1]


def test_its_asyncio_client_works_too(call: Call) -> None:
    """Many requests at once, and a stream."""
    found = call("call_on_a_loop")
    assert (found["ready"], found["ids"]) == (True, [str(number) for number in range(10) if number != 5])
    np.testing.assert_allclose(found["logits"], logits(), atol=1e-6)
    assert len(found["errors"]) == 1


def test_names_and_numbers_are_tritons(call: Call) -> None:
    """Every RPC, message, field and value that we have is the client's, and every RPC of its we have."""
    theirs = call("forms")
    ours = _forms()
    for name, form in ours.items():
        if isinstance(form, dict):
            assert form.items() <= theirs[name].items(), name
        else:
            assert form == theirs[name], name
    methods = {name for name, form in theirs.items() if isinstance(form, list)}
    assert methods == {name for name, form in ours.items() if isinstance(form, list)}
    assert len(methods) == 20


def _forms() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def add(message: Descriptor) -> None:
        fields = {field.name: [field.number, field.type, _type_of(field)] for field in message.fields}
        found[message.full_name] = fields
        for enum in message.enum_types:
            found[enum.full_name] = {value.name: value.number for value in enum.values}
        for nested in message.nested_types:
            add(nested)

    for message in pb.DESCRIPTOR.message_types_by_name.values():
        add(message)
    for enum in pb.DESCRIPTOR.enum_types_by_name.values():
        found[enum.full_name] = {value.name: value.number for value in enum.values}
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        streams = [method.client_streaming, method.server_streaming]
        found[method.full_name] = [method.input_type.full_name, method.output_type.full_name, *streams]
    return found


def _type_of(field: Any) -> str | None:
    named = field.message_type or field.enum_type
    return named.full_name if named else None
