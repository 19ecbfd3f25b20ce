"""A service with shared memory, and regions of it."""

from __future__ import annotations

from pathlib import Path

import psutil
from maas.open_inference.v2 import open_inference_pb2 as pb

from tests.inference_service.inferring import (
    OpenService,
    Parameter,
    rows,
)

X = rows()

FOLDER = Path("/dev/shm")  # noqa: S108


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
    return psutil.Process().num_fds()


def placed(byte_size: int, offset: int = 0, region: str = "region") -> dict[str, Parameter]:
    """Say where in a region a tensor is."""
    parameters = {
        "shared_memory_region": Parameter(string_param=region),
        "shared_memory_byte_size": Parameter(int64_param=byte_size),
    }
    return parameters | ({"shared_memory_offset": Parameter(uint64_param=offset)} if offset else {})
