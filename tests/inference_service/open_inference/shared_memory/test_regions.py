"""System shared memory: regions by name, tensors that are read from them and written to them, and nothing else."""

from __future__ import annotations

import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import pytest
from maas.open_inference.v2 import open_inference_pb2 as pb

from tests.inference_service.inferring import (
    PROBE,
    OpenService,
    Output,
    arrays,
    ask_numbers,
    described,
    packed,
    request,
    serving_models,
)
from tests.inference_service.making import expected, photo, pixels
from tests.inference_service.open_inference.shared_memory.sharing import FOLDER, X, placed, register, status, unregister
from tests.inference_service.running import refused

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="POSIX shared memory has no folder here")


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
