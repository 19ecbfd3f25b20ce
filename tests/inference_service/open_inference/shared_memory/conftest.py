"""A service with shared memory, and a region of it."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from uuid import uuid4

import pytest
from maas.open_inference.v2 import open_inference_pb2 as pb

from tests.inference_service.inferring import (
    OpenService,
    serving_models,
)
from tests.inference_service.open_inference.shared_memory.sharing import FOLDER, register


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
