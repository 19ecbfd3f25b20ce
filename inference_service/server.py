"""The life of the inference service: its parts run together, and end together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from functools import partial

import grpc
import structlog
from maas.inference.v1 import inference_pb2, inference_pb2_grpc
from maas.open_inference.v2 import open_inference_pb2, open_inference_pb2_grpc

from grpc_runtime.handlers import Guard
from grpc_runtime.server import GrpcServer, Register
from inference_service.api.servicer import InferenceServicer
from inference_service.batching.admission_control import AdmissionControl
from inference_service.batching.scheduler import Scheduler
from inference_service.desired.source import Source
from inference_service.errors import DeadlineExceeded, NotOffered, OutOfDeviceMemory, QueueFull
from inference_service.execution.work import Answer, Work
from inference_service.lifecycle.manager import Manager
from inference_service.open_inference.servicer import OpenInferenceServicer
from model_store.errors import StoreError

_log = structlog.get_logger()

CODES: Mapping[type[Exception], grpc.StatusCode] = {
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    OutOfDeviceMemory: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    NotOffered: grpc.StatusCode.UNIMPLEMENTED,
}
"""Codes of this service's own errors; all others are kinds of the store's errors."""


def registrations(servicer: InferenceServicer, open_servicer: OpenInferenceServicer) -> dict[str, Register]:
    """Return the services of this server by full name."""
    ours = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
    open_protocol = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
    return {
        ours: partial(inference_pb2_grpc.add_InferenceServiceServicer_to_server, servicer),
        open_protocol: partial(open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, open_servicer),
    }


def guard_of(admission: AdmissionControl) -> Guard:
    """Return the check that refuses calls before their message is read: those that send rows, in one message each."""
    ours = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"]
    open_protocol = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    methods = [ours.methods_by_name[name] for name in ("Predict", "Embed")]
    methods.append(open_protocol.methods_by_name["ModelInfer"])
    names = frozenset(f"/{each.containing_service.full_name}/{each.name}" for each in methods)
    return Guard(names, lambda: admission.is_guarded, admission.check)


class InferenceServer:
    """Runs source, manager, scheduler and gRPC server; a part that dies ends all of them."""

    def __init__(
        self,
        grpc_server: GrpcServer,
        source: Source,
        manager: Manager,
        scheduler: Scheduler[Work, Answer],
        close_streams: Callable[[], None],
    ) -> None:
        self._grpc = grpc_server
        self._close_streams = close_streams
        self._source = source
        self._manager = manager
        self._scheduler = scheduler

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set, then answer the calls in flight; raise Unavailable for a port in use.

        Health is SERVING while the service is ready (see `Readiness`). The death of a part turns it back
        and ends the service with the error of that part, DeviceFailed if the device failed for good. The other parts go
        on until the requests in flight are answered.
        """
        await self._grpc.start()
        no_more_changes = threading.Event()
        parts = [
            asyncio.create_task(self._manager.run(), name="manager"),
            asyncio.create_task(self._scheduler.run(), name="scheduler"),
            asyncio.create_task(asyncio.to_thread(self._source.run, no_more_changes), name="source"),
        ]
        for part in parts:
            part.add_done_callback(_log_failure)
        reporting = asyncio.create_task(self._report_health())
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([waiting, *parts], return_when=asyncio.FIRST_COMPLETED)
        finally:
            no_more_changes.set()
            self._manager.close_watches()
            self._close_streams()
            await self._grpc.stop()
            for task in (waiting, reporting, *parts):
                task.cancel()
            await asyncio.gather(waiting, reporting, *parts, return_exceptions=True)
        for error in filter(None, map(_failure, parts)):
            raise error

    async def _report_health(self) -> None:
        readiness = self._manager.readiness
        while True:
            await readiness.ready.wait()
            await self._grpc.set_serving(True)
            await readiness.not_ready.wait()
            await self._grpc.set_serving(False)


def _failure(part: asyncio.Task[None]) -> BaseException | None:
    """Return the error that ended a part before its time, if any."""
    return None if part.cancelled() else part.exception()


def _log_failure(part: asyncio.Task[None]) -> None:
    """Say at once that a part died: the process ends some time later."""
    error = _failure(part)
    if isinstance(error, StoreError):
        _log.critical("part_failed", part=part.get_name(), reason=error.in_full)
    elif error is not None:
        _log.critical("part_failed", part=part.get_name(), exc_info=error)
