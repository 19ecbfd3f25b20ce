"""The life of the training service: server and runner work together, and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import grpc
from maas.model_store.v1 import model_store_pb2, model_store_pb2_grpc
from maas.training.v1 import training_pb2, training_pb2_grpc

from grpc_runtime.server import GrpcServer, Register
from training_service.api.change_notifier import ChangeNotifier
from training_service.api.registry_servicer import ModelStoreServicer
from training_service.api.training_servicer import TrainingServicer
from training_service.background.tasks import TooMuchWork, WorkerDied
from training_service.datasets.files.sources import NotAllowed
from training_service.threads import Busy

CODES: Mapping[type[Exception], grpc.StatusCode] = {
    Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooMuchWork: grpc.StatusCode.RESOURCE_EXHAUSTED,
    WorkerDied: grpc.StatusCode.INTERNAL,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
}
"""Codes of this service's own errors; all others are kinds of the store's errors."""


def registrations(training: TrainingServicer, registry: ModelStoreServicer) -> dict[str, Register]:
    """Return the services of this server by full name."""
    training_name = training_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name
    registry_name = model_store_pb2.DESCRIPTOR.services_by_name["ModelStoreService"].full_name
    return {
        training_name: partial(training_pb2_grpc.add_TrainingServiceServicer_to_server, training),
        registry_name: partial(model_store_pb2_grpc.add_ModelStoreServiceServicer_to_server, registry),
    }


class Part(Protocol):
    """The tasks that run beside the server until the service stops."""

    async def run(self) -> None:
        """Work until the service stops."""


class TrainingServer:
    """Runs gRPC server and parts (runner, promoter, …) until `stopping` is set; a part that dies ends all."""

    def __init__(
        self, grpc_server: GrpcServer, parts: Sequence[Part], notifier: ChangeNotifier, stopping: asyncio.Event
    ) -> None:
        self._grpc = grpc_server
        self._parts = parts
        self._notifier = notifier
        self._stopping = stopping

    async def run(self) -> None:
        """Serve until the service is stopped, then answer the calls in flight; raise Unavailable for a port in use."""
        await self._grpc.start()
        async with asyncio.TaskGroup() as running:
            for part in self._parts:
                running.create_task(part.run())
            try:
                await self._grpc.set_serving(True)
                await self._stopping.wait()
            finally:
                self._stopping.set()
                self._notifier.stop()
                await self._grpc.stop()
