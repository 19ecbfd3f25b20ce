"""Descriptions of the service and its models, as messages of the Open Inference Protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from maas.open_inference.v2 import open_inference_pb2 as pb

from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import ModelReport
from inference_service.lifecycle.served_version import VersionReport
from inference_service.models.resident import ResidentVersion
from inference_service.models.statistics import Duration
from inference_service.open_inference.log_settings import Setting
from inference_service.open_inference.server_limits import ServerLimits
from inference_service.open_inference.shared_memory import Region
from inference_service.pipeline.signature import ANY, Layout, OutputForm, TensorForm, inputs_of, outputs_of
from model_store.errors import InvalidInput
from model_store.modalities import InputSpec
from model_store.texts import quoted

PLATFORM, BACKEND = "pytorch_safetensors", "pytorch"
_STATES = {
    VersionState.PENDING: "LOADING",
    VersionState.LOADING: "LOADING",
    VersionState.READY: "READY",
    VersionState.DRAINING: "UNLOADING",
    VersionState.FAILED: "UNAVAILABLE",
    VersionState.UNLOADED: "UNAVAILABLE",
}
_DATA_TYPES = {"FP32": pb.TYPE_FP32, "UINT8": pb.TYPE_UINT8, "INT64": pb.TYPE_INT64, "BYTES": pb.TYPE_STRING}
_FORMATS = {
    Layout.NONE: pb.ModelInput.FORMAT_NONE,
    Layout.HEIGHT_WIDTH_CHANNELS: pb.ModelInput.FORMAT_NHWC,
    Layout.CHANNELS_HEIGHT_WIDTH: pb.ModelInput.FORMAT_NCHW,
}


def metadata(version: ResidentVersion, report: ModelReport) -> pb.ModelMetadataResponse:
    """Describe the tensors of a version, and the model's versions that are ready."""
    return pb.ModelMetadataResponse(
        name=version.name.model_id,
        versions=[str(number) for number in _ready(report)],
        platform=PLATFORM,
        inputs=[_tensor_metadata(form) for form in _first(inputs_of(version.input_spec))],
        outputs=[_output_metadata(form) for form in _outputs(version)],
    )


def config(version: ResidentVersion, report: ModelReport, limits: ServerLimits) -> pb.ModelConfig:
    """Describe a version in Triton's terms."""
    forms = inputs_of(version.input_spec)
    return pb.ModelConfig(
        name=version.name.model_id,
        platform=PLATFORM,
        backend=BACKEND,
        version_policy=pb.ModelVersionPolicy(specific=pb.ModelVersionPolicy.Specific(versions=_ready(report))),
        max_batch_size=limits.max_rows_per_request,
        input=[_model_input(form) for form in _first(forms)],
        output=[_model_output(form) for form in _outputs(version)],
        instance_group=[_instance_group(limits)],
        dynamic_batching=_batching(version.input_spec, limits),
        parameters={
            "architecture": pb.ModelParameter(string_value=version.architecture),
            "version": pb.ModelParameter(string_value=str(version.name)),
            "modality": pb.ModelParameter(string_value=version.input_spec.kind),
            "task": pb.ModelParameter(string_value=version.task.kind if version.task else ""),
            "outputs": pb.ModelParameter(string_value=json.dumps(version.names, ensure_ascii=False)),
            "columns": pb.ModelParameter(string_value=_elements(version.input_spec)),
            "temperature": pb.ModelParameter(string_value=f"{version.temperature:g}"),
            "alternative_inputs": pb.ModelParameter(string_value=_alternatives(forms)),
        },
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
        response_cache=pb.ModelResponseCache(enable=limits.has_response_cache),
    )


def _elements(spec: InputSpec) -> str:
    """Return the names of the elements of a row's tensors as JSON, where they are known."""
    return json.dumps([name for form in spec.tensors() for name in form.elements], ensure_ascii=False)


def statistics(report: VersionReport, *, has_gpu: bool) -> pb.ModelStatistics:
    """Write the statistics of a loaded version."""
    counted = report.statistics
    if counted is None:
        raise ValueError(f"{report.name} is not loaded")
    return pb.ModelStatistics(
        name=report.name.model_id,
        version=str(report.name.number),
        last_inference=counted.last_request_ms,
        inference_count=counted.num_rows,
        execution_count=counted.num_batches,
        inference_stats=pb.InferStatistics(
            success=_duration(counted.succeeded),
            fail=_duration(counted.failed),
            queue=_duration(counted.queued),
            compute_input=_duration(counted.prepared),
            compute_infer=_duration(counted.computed),
            compute_output=_duration(counted.written),
            cache_hit=_duration(counted.cache_hit),
            cache_miss=_duration(counted.cache_miss),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=size,
                compute_input=pb.StatisticDuration(count=batches.count),
                compute_infer=_duration(batches),
                compute_output=pb.StatisticDuration(count=batches.count),
            )
            for size, batches in sorted(counted.batches.items())
        ],
        memory_usage=[pb.MemoryUsage(type="GPU" if has_gpu else "CPU", byte_size=report.resident_bytes)],
    )


def index(reports: Iterable[ModelReport], *, ready: bool) -> pb.RepositoryIndexResponse:
    """List versions and where they stand."""
    versions = [
        pb.RepositoryIndexResponse.ModelIndex(
            name=version.name.model_id,
            version=str(version.name.number),
            state=_STATES[version.state],
            reason=version.reason,
        )
        for report in reports
        for version in report.versions
        if version.state is VersionState.READY or not ready
    ]
    return pb.RepositoryIndexResponse(models=versions)


def regions(found: Mapping[str, Region]) -> pb.SystemSharedMemoryStatusResponse:
    """List registered regions."""
    status = pb.SystemSharedMemoryStatusResponse.RegionStatus
    return pb.SystemSharedMemoryStatusResponse(
        regions={
            name: status(name=name, key=each.key, offset=each.offset, byte_size=each.byte_size)
            for name, each in found.items()
        }
    )


def read_log_settings(request: pb.LogSettingsRequest) -> dict[str, Setting]:
    """Return the settings that a request changes; raise InvalidInput for one without a value."""
    changes: dict[str, Setting] = {}
    for name, value in request.settings.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidInput.of(f"settings[{quoted(name)}]", "must have a value")
        changes[name] = getattr(value, kind)
    return changes


def log_settings(settings: Mapping[str, Setting]) -> pb.LogSettingsResponse:
    """Write all log settings."""
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    response = pb.LogSettingsResponse()
    for name, value in settings.items():
        setattr(response.settings[name], kinds[type(value)], value)
    return response


def trace_settings() -> pb.TraceSettingResponse:
    """Say that nothing is traced."""
    return pb.TraceSettingResponse(settings={"trace_level": pb.TraceSettingResponse.SettingValue(value=["OFF"])})


def _ready(report: ModelReport) -> list[int]:
    return sorted(each.name.number for each in report.versions if each.state is VersionState.READY)


def _first(forms: Mapping[str, TensorForm]) -> list[TensorForm]:
    """Return the inputs of the first alternative."""
    return [form for form in forms.values() if form.alternative == 0]


def _tensor_metadata(form: TensorForm) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=form.name, datatype=form.datatype, shape=(-1, *form.shape))


def _model_input(form: TensorForm) -> pb.ModelInput:
    return pb.ModelInput(
        name=form.name, data_type=_DATA_TYPES[form.datatype], format=_FORMATS[form.layout], dims=form.shape
    )


def _alternatives(forms: Mapping[str, TensorForm]) -> str:
    """Return, as JSON, the alternatives to the inputs of the metadata.

    The metadata does not list them: some tools fill every listed input, and a request has one alternative.
    """
    others = [form for form in forms.values() if form.alternative != 0]
    return json.dumps([{**_described(form), "alternative": form.alternative} for form in others])


def _described(form: TensorForm) -> dict[str, object]:
    return {"name": form.name, "datatype": form.datatype, "shape": [ANY, *form.shape]}


def _outputs(version: ResidentVersion) -> Iterable[OutputForm]:
    return outputs_of(version.task, version.embedding_size).values()


def _output_metadata(form: OutputForm) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=form.name, datatype="FP32", shape=(ANY, form.size))


def _model_output(form: OutputForm) -> pb.ModelOutput:
    return pb.ModelOutput(name=form.name, data_type=pb.TYPE_FP32, dims=[form.size])


def _instance_group(limits: ServerLimits) -> pb.ModelInstanceGroup:
    if limits.has_gpu:
        return pb.ModelInstanceGroup(name="device", kind=pb.ModelInstanceGroup.KIND_GPU, count=1, gpus=[0])
    return pb.ModelInstanceGroup(name="device", kind=pb.ModelInstanceGroup.KIND_CPU, count=1)


def _batching(spec: InputSpec, limits: ServerLimits) -> pb.ModelDynamicBatching:
    """Describe the limits of cost in rows, as Triton counts; of the smallest rows where they differ in cost."""
    of_kind, row_cost = limits.by_kind[spec.kind], spec.cost(spec.blank())
    policy = pb.ModelQueuePolicy(allow_timeout_override=True, max_queue_size=of_kind.queue_cost // row_cost)
    return pb.ModelDynamicBatching(
        preferred_batch_size=[of_kind.batch_cost // row_cost or 1], default_queue_policy=policy
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
