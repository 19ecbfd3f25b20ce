"""The shared memory RPCs of inference.GRPCInferenceService: regions of system memory; CUDA memory is not offered."""

from __future__ import annotations

from typing import Any

import grpc
from maas.open_inference.v2 import open_inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2_grpc

from inference_service.errors import NotOffered
from inference_service.open_inference import convert
from inference_service.open_inference.shared_memory import SharedMemory

_NO_CUDA_MEMORY = "CUDA shared memory is not offered: send tensors raw, or through system shared memory"
Context = grpc.aio.ServicerContext[Any, Any]


class SharedMemoryServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Registers, lists and forgets regions of shared memory."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    async def SystemSharedMemoryStatus(
        self,
        request: pb.SystemSharedMemoryStatusRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.SystemSharedMemoryStatusResponse:
        """List the registered regions."""
        return convert.regions(self._memory.regions(request.name))

    async def SystemSharedMemoryRegister(
        self,
        request: pb.SystemSharedMemoryRegisterRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Register a region."""
        self._memory.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self,
        request: pb.SystemSharedMemoryUnregisterRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forget a region, or all of them."""
        self._memory.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self,
        request: pb.CudaSharedMemoryStatusRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.CudaSharedMemoryStatusResponse:
        """Refuse."""
        raise NotOffered(_NO_CUDA_MEMORY)

    async def CudaSharedMemoryRegister(
        self,
        request: pb.CudaSharedMemoryRegisterRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refuse."""
        raise NotOffered(_NO_CUDA_MEMORY)

    async def CudaSharedMemoryUnregister(
        self,
        request: pb.CudaSharedMemoryUnregisterRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Refuse."""
        raise NotOffered(_NO_CUDA_MEMORY)
