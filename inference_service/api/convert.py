"""Between the messages of maas.inference.v1 and the service's own words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from maas.inference.v1 import inference_pb2 as pb
from maas.model_store.v1 import model_store_pb2 as store_pb

from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import AliasReport, ModelReport
from inference_service.lifecycle.served_version import VersionReport
from inference_service.lifecycle.traffic import ShadowCounts
from inference_service.models.drift_monitor import DriftMonitor
from inference_service.models.precision import Agreement, Backend, Precision
from inference_service.models.resident import ResidentVersion
from inference_service.pipeline.signature import ANY, inputs_of, outputs_of
from model_store.modalities import InputSpec
from model_store.modalities.spec import Numbers
from model_store.names import VersionName, model_name
from model_store.records.aliases import Share
from model_store.tasks import Task

_STATES = {
    VersionState.PENDING: pb.VERSION_STATE_PENDING,
    VersionState.LOADING: pb.VERSION_STATE_LOADING,
    VersionState.READY: pb.VERSION_STATE_READY,
    VersionState.DRAINING: pb.VERSION_STATE_DRAINING,
    VersionState.FAILED: pb.VERSION_STATE_FAILED,
    VersionState.UNLOADED: pb.VERSION_STATE_UNLOADED,
}

_TASKS = {
    "classification": store_pb.TASK_CLASSIFICATION,
    "multi_label": store_pb.TASK_MULTI_LABEL,
    "regression": store_pb.TASK_REGRESSION,
}

_PRECISIONS = {
    Precision.FLOAT32: pb.PRECISION_FLOAT32,
    Precision.BFLOAT16: pb.PRECISION_BFLOAT16,
    Precision.FLOAT16: pb.PRECISION_FLOAT16,
    Precision.INT8: pb.PRECISION_INT8,
}

_BACKENDS = {Backend.TORCH: pb.BACKEND_TORCH, Backend.OPENVINO: pb.BACKEND_OPENVINO}


def embed_response(version: ResidentVersion, embeddings: Numbers) -> pb.EmbedResponse:
    """Answer with each row of embeddings [n, d]."""
    rows = [pb.Embedding(values=row) for row in embeddings.tolist()]
    return pb.EmbedResponse(embeddings=rows, version=str(version.name))


def served_model(report: ModelReport) -> pb.ServedModel:
    """Write a report."""
    return pb.ServedModel(
        name=model_name(report.model_id),
        versions=[_served_version(each) for each in report.versions],
        aliases=[_served_alias(each) for each in report.aliases],
        default_version=str(report.default_version or ""),
        not_ready_reason=report.obstacle,
    )


def _served_version(report: VersionReport) -> pb.ServedVersion:
    return pb.ServedVersion(
        name=str(report.name),
        state=_STATES[report.state],
        reason=report.reason,
        update_time=_timestamp(report.updated_at),
        resident_bytes=report.resident_bytes,
        shared_bytes=report.shared_bytes,
        load_duration=_duration(report.load_seconds),
        last_used_time=_timestamp(report.last_used_at) if report.last_used_at else None,
        pinned=report.is_pinned,
        precision=_PRECISIONS[report.precision] if report.precision else pb.PRECISION_UNSPECIFIED,
        backend=_BACKENDS[report.backend] if report.backend else pb.BACKEND_UNSPECIFIED,
        precision_trials=[_trial(each) for each in report.agreements],
        drift=_drift(report.drift) if report.drift else None,
        temperature=report.task.temperature if report.task else None,
        modality=report.input_spec.kind if report.input_spec else "",
        task=_TASKS[report.task.kind] if report.task else store_pb.TASK_UNSPECIFIED,
        signature=_signature(report.input_spec, report.task, report.embedding_size) if report.input_spec else None,
    )


def _signature(spec: InputSpec, task: Task | None, embedding_size: int) -> pb.Signature:
    inputs = [
        pb.TensorForm(name=each.name, datatypes=each.datatypes, shape=(ANY, *each.shape), alternative=each.alternative)
        for each in inputs_of(spec).values()
    ]
    outputs = [
        pb.TensorForm(name=each.name, datatypes=["FP32"], shape=(ANY, each.size))
        for each in outputs_of(task, embedding_size).values()
    ]
    return pb.Signature(inputs=inputs, outputs=outputs)


def _drift(monitor: DriftMonitor) -> pb.Drift:
    found = monitor.found()
    return pb.Drift(
        row_count=monitor.num_rows,
        drifted=any(each.psi > each.bound for each in found),
        comparisons=[pb.Drift.Comparison(name=each.name, psi=each.psi, bound=each.bound) for each in found],
    )


def _trial(agreement: Agreement) -> pb.PrecisionTrial:
    return pb.PrecisionTrial(
        precision=_PRECISIONS[agreement.precision],
        row_count=agreement.num_rows,
        decision_agreement=agreement.decision_agreement,
        max_score_shift=agreement.max_score_shift,
        backend=_BACKENDS[agreement.backend],
    )


def _served_alias(report: AliasReport) -> pb.ServedAlias:
    served = pb.ServedAlias(
        name=str(report.name), version=str(report.version or ""), wanted_version=str(report.wanted_version)
    )
    if report.split is not None:
        model_id, traffic = report.name.model_id, report.split.traffic
        served.canaries.extend(pb.ServedShare(**_share(model_id, each)) for each in traffic.canaries)
        if traffic.shadow is not None:
            served.shadow.MergeFrom(_served_shadow(model_id, traffic.shadow, report.split.counts))
    return served


def _served_shadow(model_id: str, share: Share, counts: ShadowCounts) -> pb.ServedShadow:
    return pb.ServedShadow(
        **_share(model_id, share),
        compared_count=counts.num_compared,
        row_count=counts.num_rows,
        agreeing_row_count=counts.num_agreeing_rows,
        max_score_difference=counts.max_score_difference,
        failed_count=counts.num_failed,
        dropped_count=counts.num_dropped,
        skipped_count=counts.num_skipped,
    )


def _share(model_id: str, share: Share) -> dict[str, Any]:
    return {"version": str(VersionName(model_id, share.number)), "percent": share.percent}


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
