"""Which shared memory a caller may name: regions and tensors that lie outside of it are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from pydantic import ValidationError

from inference_service.settings import InferenceSettings
from tests.inference_service.inferring import (
    Input,
    OpenService,
    Output,
    Parameter,
    ask_numbers,
    described,
    serving_models,
)
from tests.inference_service.open_inference.shared_memory.sharing import (
    FOLDER,
    X,
    num_descriptors,
    placed,
    register,
    status,
    unregister,
)
from tests.inference_service.running import refused, refused_fields

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="POSIX shared memory has no folder here")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        ".",
        "..",
        "../dev/null",
        "/../x",
        "/etc/passwd",
        "//x",
        "a/b",
        ".hidden",
        "-x",
        "x\0",
        "x y",
        "é",
        "x" * 251,
        "maas-/../x",
        "maas-x/../../dev/null",
    ],
)
def test_a_key_is_no_path(service: OpenService, key: str) -> None:
    """Its grammar is told."""
    with refused_fields("key"):
        register(service, "x", key)


def test_memory_of_others_is_not_opened(service: OpenService, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only names with the operator's prefix are; of others it is not told whether they are there."""
    with in_shared_memory(f"others-{uuid4().hex}") as path:
        path.write_bytes(bytes(4096))
        answers = set()
        for key in (path.name, f"/{path.name}", "others-are-not-there", f"x-maas-{path.name}"):
            with pytest.raises(grpc.RpcError) as caught:
                register(service, "x", key)
            answers.add((caught.value.code(), caught.value.details()))
        text = "must begin with 'maas-', as whoever runs the service has set in MAAS_INFERENCE_SHARED_MEMORY_PREFIX"
        assert answers == {(INVALID, f"key: {text}")}
        home = tmp_path_factory.mktemp("home")
        with serving_models(home, shared_memory=True, shared_memory_prefix="others-") as other:
            register(other, "x", path.name)
            assert set(status(other)) == {"x"}


def test_every_prefix_has_a_character() -> None:
    """An empty one would open all memory of the machine."""
    for prefix in ("", "/", "../", ".x"):
        with pytest.raises(ValidationError):
            InferenceSettings(shared_memory_prefix=prefix)


@contextmanager
def in_shared_memory(name: str) -> Iterator[Path]:
    """Name something in the folder of shared memory, gone afterwards."""
    path = FOLDER / name
    try:
        yield path
    finally:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def test_only_memory_is_opened(service: OpenService, tmp_path: Path) -> None:
    """Neither a link to a file nor a folder nor a pipe nor what is not there."""
    name = f"maas-{uuid4().hex}"
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 100)
    with refused(NOT_FOUND, name):
        register(service, "x", name)
    with in_shared_memory(name) as path:
        path.symlink_to(secret)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "cannot be opened"):
            register(service, "x", name)
    with in_shared_memory(name) as path:
        path.mkdir()
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "cannot be opened"):
            register(service, "x", name)
    with in_shared_memory(name) as path:
        os.mkfifo(path)
        with refused_fields("key"):
            register(service, "x", name)


@pytest.mark.parametrize(
    ("name", "offset", "byte_size", "field"),
    [
        ("", 0, 16, "name"),
        ("x" * 256, 0, 16, "name"),
        ("x", 0, 0, "byte_size"),
        ("x", 0, 4097, "byte_size"),
        ("x", 4090, 7, "byte_size"),
        ("x", 2**64 - 1, 2**64 - 1, "byte_size"),
    ],
)
def test_a_region_lies_inside_of_its_memory(
    service: OpenService, memory: SharedMemory, name: str, offset: int, byte_size: int, field: str
) -> None:
    """What does not is refused by its field, and nothing stays registered or open."""
    before = num_descriptors()
    with refused_fields(field):
        register(service, name, memory.name, offset=offset, byte_size=byte_size)
    assert list(status(service)) == ["region"]
    assert num_descriptors() == before


def test_regions_are_bounded_and_their_descriptors_are_closed(service: OpenService, memory: SharedMemory) -> None:
    """A caller cannot take all descriptors of the process."""
    before = num_descriptors()
    for number in range(127):
        register(service, f"region {number}", memory.name)
    assert num_descriptors() == before + 127
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "128 regions"):
        register(service, "one more", memory.name)
    unregister(service)
    assert num_descriptors() == before - 1


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (placed(48, region="none"), "no region is registered as 'none'"),
        (placed(4097), "ends at byte 4097 of region 'region', which has 4096"),
        (placed(48, offset=4090), "ends at byte 4138 of region 'region', which has 4096"),
        (placed(48, offset=2**64 - 1), "of region 'region', which has 4096"),
        (placed(47), "INPUT must have 48 raw bytes for 2 x 6 of FP32, not 47"),
        (placed(-48), "inputs[0][shared_memory_byte_size]"),
        ({"shared_memory_region": Parameter(string_param="region")}, "without shared_memory_byte_size"),
        ({"shared_memory_byte_size": Parameter(int64_param=48)}, "without shared_memory_region"),
        ({"shared_memory_offset": Parameter(int64_param=48)}, "without shared_memory_region"),
        (placed(48) | {"shared_memory_region": Parameter(int64_param=1)}, "must be a string_param"),
        (placed(48) | {"shared_memory_byte_size": Parameter(string_param="48")}, "must be an int64_param"),
    ],
)
def test_an_input_lies_inside_of_its_region(service: OpenService, parameters: dict[str, Parameter], text: str) -> None:
    """What is wrong is told, with the input that it is wrong of."""
    with refused(INVALID, text):
        service.infer("numbers", described("INPUT", "FP32", 2, 6, parameters=parameters))


@pytest.mark.usefixtures("memory")
def test_an_input_is_in_one_place(service: OpenService) -> None:
    """Not in shared memory and in the request."""
    tensor = Input()
    tensor.CopyFrom(described("INPUT", "FP32", 2, 6, parameters=placed(48)))
    with refused(INVALID, "raw_input_contents: must have one entry for each input that is not in shared memory: 0"):
        service.infer("numbers", tensor, raw=[X.tobytes()])
    tensor.contents.fp32_contents.extend(X.ravel())
    with refused(INVALID, "has contents beside shared memory"):
        service.infer("numbers", tensor)


def test_an_output_must_fit(service: OpenService, memory: SharedMemory) -> None:
    """That is known before anything is run, and nothing is written."""
    memory.buf[:] = b"\xff" * 4096
    before = service.running.server._scheduler.counters.num_batches
    with refused(INVALID, "outputs[0]: SCORES has 24 bytes, not 23"):
        service.stub.ModelInfer(ask_numbers(X, outputs=[Output(name="SCORES", parameters=placed(23))]))
    best = placed(400) | {"classification": Parameter(int64_param=1)}
    with refused(INVALID, "outputs[0]: cannot have a classification in shared memory"):
        service.stub.ModelInfer(ask_numbers(X, outputs=[Output(name="SCORES", parameters=best)]))
    assert service.running.server._scheduler.counters.num_batches == before
    assert bytes(memory.buf) == b"\xff" * 4096
