"""System shared memory: regions by name, tensors that are read from them and written to them, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import pytest
from maas.open_inference.v2 import open_inference_pb2 as pb
from pydantic import ValidationError

from inference_service.settings import InferenceSettings
from tests.inference_service.inferring import (
    PROBE,
    Input,
    OpenService,
    Output,
    Parameter,
    arrays,
    ask_numbers,
    described,
    packed,
    request,
    rows,
    serving_models,
)
from tests.inference_service.making import expected, photo, pixels
from tests.inference_service.running import refused, refused_fields

X = rows()
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
FOLDER = Path("/dev/shm")  # noqa: S108

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="POSIX shared memory has no folder here")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    """A service that takes shared memory."""
    with serving_models(tmp_path_factory.mktemp("home"), shared_memory=True) as serving:
        yield serving


@pytest.fixture
def memory(service: OpenService) -> Iterator[SharedMemory]:
    """Shared memory of 4 KiB, registered whole as `region`."""
    memory = SharedMemory(f"maas-{uuid4().hex}", create=True, size=4096)
    register(service, "region", memory.name, byte_size=4096)
    yield memory
    service.stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
    memory.close()
    if (FOLDER / memory.name).exists():
        memory.unlink()


def register(service: OpenService, name: str, key: str, *, offset: int = 0, byte_size: int = 16) -> None:
    """Register a region."""
    service.stub.SystemSharedMemoryRegister(
        pb.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=byte_size)
    )


def unregister(service: OpenService, name: str = "") -> None:
    """Forget a region, or all."""
    service.stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name=name))


def status(service: OpenService, name: str = "") -> dict[str, tuple[str, str, int, int]]:
    """Return the registered regions."""
    regions = service.stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(name=name)).regions
    return {name: (each.name, each.key, each.offset, each.byte_size) for name, each in regions.items()}


def num_descriptors() -> int:
    """Count what this process, and so the service in it, has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def placed(byte_size: int, offset: int = 0, region: str = "region") -> dict[str, Parameter]:
    """Say where in a region a tensor is."""
    parameters = {
        "shared_memory_region": Parameter(string_param=region),
        "shared_memory_byte_size": Parameter(int64_param=byte_size),
    }
    return parameters | ({"shared_memory_offset": Parameter(uint64_param=offset)} if offset else {})


def test_it_is_off_unless_the_operator_wants_it(tmp_path: Path) -> None:
    """Every use says which setting it takes; the extension is listed only where it is on."""
    with serving_models(tmp_path) as service:
        off = "MAAS_INFERENCE_SHARED_MEMORY=true"
        for call in (
            lambda: register(service, "region", "key"),
            lambda: unregister(service),
            lambda: status(service),
            lambda: service.infer("numbers", described("INPUT", "FP32", 2, 6, parameters=placed(48))),
            lambda: service.stub.ModelInfer(ask_numbers(X, outputs=[Output(name="SCORES", parameters=placed(24))])),
        ):
            with refused(grpc.StatusCode.FAILED_PRECONDITION, off):
                call()


def test_it_is_listed_where_it_is_on(service: OpenService) -> None:
    """Clients look there."""
    extensions = service.stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
    assert "system_shared_memory" in extensions
    assert "cuda_shared_memory" not in extensions


def test_regions_are_registered_listed_and_forgotten(service: OpenService, memory: SharedMemory) -> None:
    """By name, one or all; a name is taken once."""
    register(service, "part", f"/{memory.name}", offset=96, byte_size=4000)
    whole, part = ("region", memory.name, 0, 4096), ("part", f"/{memory.name}", 96, 4000)
    assert status(service) == {"region": whole, "part": part}
    assert status(service, "part") == {"part": part}
    with refused(grpc.StatusCode.ALREADY_EXISTS, "'part' is registered already"):
        register(service, "part", memory.name)
    unregister(service, "part")
    unregister(service, "part")
    with refused(NOT_FOUND, "'part'"):
        status(service, "part")
    assert status(service) == {"region": whole}
    unregister(service)
    assert status(service) == {}


def test_inputs_are_read_from_it_and_outputs_written_to_it(service: OpenService, memory: SharedMemory) -> None:
    """The same numbers as over the wire; what is elsewhere in the region stays."""
    plain = arrays(service.stub.ModelInfer(ask_numbers(X)))
    memory.buf[:] = b"\xff" * 4096
    memory.buf[100:148] = X.tobytes()
    tensor = described("INPUT", "FP32", 2, 6, parameters=placed(48, offset=100))
    outputs = [Output(name="LOGITS", parameters=placed(64, offset=1000)), Output(name="SCORES")]
    answer = service.stub.ModelInfer(request("numbers", tensor, outputs=outputs))
    logits, scores = answer.outputs
    assert (logits.name, logits.datatype, list(logits.shape)) == ("LOGITS", "FP32", [2, 3])
    assert logits.parameters["shared_memory_region"].string_param == "region"
    assert logits.parameters["shared_memory_byte_size"].int64_param == 24
    assert logits.parameters["shared_memory_offset"].int64_param == 1000
    assert answer.raw_output_contents[0] == b""
    assert not scores.parameters
    written = np.frombuffer(bytes(memory.buf[1000:1024]), np.float32).reshape(2, 3)
    np.testing.assert_allclose(written, plain["LOGITS"], atol=1e-6)
    np.testing.assert_allclose(
        np.frombuffer(answer.raw_output_contents[1], np.float32), plain["SCORES"].ravel(), atol=1e-6
    )
    assert bytes(memory.buf[1024:]) == b"\xff" * 3072
    assert bytes(memory.buf[148:1000]) == b"\xff" * 852


@pytest.mark.usefixtures("memory")
def test_images_are_read_from_it(service: OpenService) -> None:
    """BYTES lie there as they do over the wire."""
    data = packed(photo(1, (40, 40)), photo(2, (40, 40)))
    large = SharedMemory(f"maas-{uuid4().hex}", create=True, size=len(data))
    try:
        large.buf[: len(data)] = data
        register(service, "images", large.name, byte_size=len(data))
        image = described("IMAGE", "BYTES", 2, parameters=placed(len(data), region="images"))
        scores, _ = expected(PROBE, [pixels(photo(1, (40, 40))), pixels(photo(2, (40, 40)))])
        np.testing.assert_allclose(arrays(service.infer("flowers", image))["SCORES"], scores, atol=1e-5)
    finally:
        large.close()
        large.unlink()


def test_a_region_outlives_its_name(service: OpenService, memory: SharedMemory) -> None:
    """Who unlinks the memory after registering it goes on using it."""
    memory.unlink()
    memory.buf[:48] = X.tobytes()
    answer = service.infer("numbers", described("INPUT", "FP32", 2, 6, parameters=placed(48)))
    np.testing.assert_allclose(
        arrays(answer)["SCORES"], arrays(service.stub.ModelInfer(ask_numbers(X)))["SCORES"], atol=1e-6
    )


def test_memory_that_is_cut_short_ends_the_request_alone(service: OpenService, memory: SharedMemory) -> None:
    """A mapping of it would end the process."""
    os.truncate(FOLDER / memory.name, 10)
    with refused(INVALID, "inputs[0]: the memory of region 'region' was cut short by its owner"):
        service.infer("numbers", described("INPUT", "FP32", 2, 6, parameters=placed(48)))
    assert service.stub.ModelInfer(ask_numbers(X)).outputs


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
