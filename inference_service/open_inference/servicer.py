"""inference.GRPCInferenceService: from a request to its answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from importlib.metadata import version as installed_version
from typing import Any

import grpc
import structlog
from maas.open_inference.v2 import open_inference_pb2 as pb

from grpc_runtime.errors import Refusal
from grpc_runtime.logs import log_level, set_log_level
from inference_service.batching.queue_entry import DEFAULT_PRIORITY
from inference_service.errors import NotOffered, NotServed
from inference_service.execution.work import Answer, Output
from inference_service.lifecycle.manager import Manager
from inference_service.lifecycle.served_version import VersionReport
from inference_service.models.resident import ResidentVersion
from inference_service.open_inference import convert, infer_convert
from inference_service.open_inference.log_settings import changed_level, settings_of
from inference_service.open_inference.repository import Repository
from inference_service.open_inference.requests import (
    InferRequest,
    OutputTensor,
    WantedOutput,
    check_answer,
    check_memory,
    read_input,
    read_outputs,
    read_target,
    write_output,
)
from inference_service.open_inference.server_limits import ServerLimits
from inference_service.open_inference.shared_memory import SharedMemory
from inference_service.open_inference.shared_memory_servicer import SharedMemoryServicer
from inference_service.open_inference.streams import Streams
from inference_service.pipeline.answering import Pipeline, Urgency
from inference_service.pipeline.signature import outputs_of
from model_store.errors import InvalidInput
from model_store.names import AliasName, ModelName, VersionName

_EXTENSIONS = (
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
)
_MAX_AT_ONCE = 64  # requests of one stream
_log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]


class OpenInferenceServicer(SharedMemoryServicer):
    """Answers from leased versions; every refusal is a domain error, which the server maps to a code.

    `refusal` converts an error to the answer of a call: a stream sends it as a message, and goes on.
    """

    def __init__(
        self,
        manager: Manager,
        pipeline: Pipeline,
        repository: Repository,
        memory: SharedMemory,
        limits: ServerLimits,
        *,
        refusal: Callable[[Exception, str], Refusal],
    ) -> None:
        super().__init__(memory)
        self._manager = manager
        self._pipeline = pipeline
        self._repository = repository
        self._limits = limits
        self._refusal = refusal
        self._streams = Streams(max_at_once=_MAX_AT_ONCE)

    def close_streams(self) -> None:
        """End every stream after its running requests are answered; open streams would delay the stop of the server."""
        self._streams.close()

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:  # noqa: ARG002
        """Say that the server runs."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self,
        request: pb.ServerReadyRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.ServerReadyResponse:
        """Say whether what must be served is served, as health does."""
        return pb.ServerReadyResponse(ready=self._manager.readiness.ready.is_set())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:  # noqa: ARG002
        """Say whether a model would answer."""
        try:
            target = read_target(request.name, request.version, "name")
        except NotServed:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=await self._manager.would_answer(target))

    async def ServerMetadata(
        self,
        request: pb.ServerMetadataRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.ServerMetadataResponse:
        """Describe the server."""
        memory = ("system_shared_memory",) if self._memory.enabled else ()
        return pb.ServerMetadataResponse(
            name="maas", version=installed_version("maas-transfer"), extensions=(*_EXTENSIONS, *memory)
        )

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """Describe a model's tensors."""
        target = read_target(request.name, request.version, "name")
        with await self._manager.lease_when_ready(target, _deadline(context)) as version:
            return convert.metadata(version, self._manager.report(version.name.model_id))

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """Describe a model in Triton's terms."""
        target = read_target(request.name, request.version, "name")
        with await self._manager.lease_when_ready(target, _deadline(context)) as version:
            report = self._manager.report(version.name.model_id)
            return pb.ModelConfigResponse(config=convert.config(version, report, self._limits))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Run rows through a model."""
        return await self._infer(request.id, infer_convert.read_request(request, self._memory), context)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Run many requests, side by side."""

        async def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            try:
                asked = infer_convert.read_request(request, self._memory)
                response = await self._infer(request.id, asked, context)
            except Exception as error:  # noqa: BLE001  the outermost frame of a request
                return infer_convert.streamed_error(request, self._refusal(error, "ModelStreamInfer"))
            return infer_convert.streamed(response, marks_final=asked.marks_final)

        async with aclosing(self._streams.answered(request_iterator, answer)) as answers:
            async for each in answers:
                yield each

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:  # noqa: ARG002
        """Return the statistics of loaded versions."""
        found = [
            convert.statistics(report, has_gpu=self._limits.has_gpu)
            for report in self._versions(request.name, request.version)
            if report.statistics is not None
        ]
        return pb.ModelStatisticsResponse(model_stats=found)

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:  # noqa: ARG002
        """List the versions and where they stand."""
        _refuse_repository(request.repository_name)
        reports = [self._manager.report(model_id) for model_id in self._manager.model_ids()]
        return convert.index(reports, ready=request.ready)

    async def RepositoryModelLoad(
        self,
        request: pb.RepositoryModelLoadRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model, and answer when it would."""
        _refuse_repository(request.repository_name)
        if request.parameters:
            raise NotOffered("a model is loaded as the model store has it: leave the parameters out")
        await self._repository.load(read_target(request.model_name, "", "model_name").model_id)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self,
        request: pb.RepositoryModelUnloadRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model until it is loaded by a call, and answer when its memory is free."""
        _refuse_repository(request.repository_name)
        await self._manager.unload_model(read_target(request.model_name, "", "model_name").model_id)
        return pb.RepositoryModelUnloadResponse()

    async def TraceSetting(self, request: pb.TraceSettingRequest, context: Context) -> pb.TraceSettingResponse:  # noqa: ARG002
        """Say that nothing is traced."""
        if request.settings:
            raise NotOffered("nothing is traced here, and that cannot be changed: trace_level is OFF")
        return convert.trace_settings()

    async def LogSettings(self, request: pb.LogSettingsRequest, context: Context) -> pb.LogSettingsResponse:  # noqa: ARG002
        """Read the log settings, or change the level."""
        level = changed_level(log_level(), convert.read_log_settings(request))
        if request.settings:
            set_log_level(level)
            _log.warning("log_level_changed", log_level=level)
        return convert.log_settings(settings_of(level))

    async def _infer(self, request_id: str, asked: InferRequest, context: Context) -> pb.ModelInferResponse:
        target, urgency = read_target(asked.model, asked.version, "model_name"), _urgency(asked, context)
        lease = await self._manager.lease_when_ready(target, urgency.deadline, asked.routing_key)
        with lease as version:
            rows = read_input(version.input_spec, asked.inputs, self._limits.max_rows_per_request)
            forms = outputs_of(version.task, version.embedding_size)
            wanted = read_outputs(forms, asked.outputs)
            check_memory(forms, wanted, len(rows))
            chosen = {each.name: forms[each.name].output for each in wanted}
            answer = await self._pipeline.answer(version, rows, frozenset(chosen.values()), urgency, lease.shadow)
            check_answer(asked, rows, answer)
            tensors = [_written(version, each, chosen[each.name], answer) for each in wanted]
            return infer_convert.infer_response(version, request_id, tensors)

    def _versions(self, model: str, version: str) -> Iterator[VersionReport]:
        """Yield the versions of every model, of one, or one of them."""
        if not model and version:
            raise InvalidInput.of("version", "goes with a name: which model is it a version of?")
        target = read_target(model, version, "name") if model else None
        for model_id in [target.model_id] if target else self._manager.model_ids():
            report = self._manager.report(model_id)
            chosen = self._answering(target) if version and target else None
            yield from (each for each in reversed(report.versions) if chosen in {None, each.name})

    def _answering(self, target: ModelName | AliasName | VersionName) -> VersionName:
        with self._manager.lease(target) as version:
            return version.name


def _written(version: ResidentVersion, wanted: WantedOutput, output: Output, answer: Answer) -> OutputTensor:
    return write_output(wanted, answer[output], () if output is Output.EMBEDDING else version.names)


def _refuse_repository(name: str) -> None:
    if name:
        raise NotOffered("there is one repository, the model store: leave repository_name empty")


def _urgency(asked: InferRequest, context: Context) -> Urgency:
    """Return until when the answer is of use, by the call's deadline and the request's timeout, and its priority."""
    return Urgency(_deadline(context, asked.timeout_us), asked.priority or DEFAULT_PRIORITY)


def _deadline(context: Context, timeout_us: int = 0) -> float | None:
    """Return the earlier of the call's deadline and the timeout, if any, as a time of time.monotonic."""
    remaining = [timeout_us / 1e6] if timeout_us else []
    if (left := context.time_remaining()) is not None:
        remaining.append(left)
    return time.monotonic() + min(remaining) if remaining else None
