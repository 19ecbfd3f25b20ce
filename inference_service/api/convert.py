"""Between the messages of maas.inference.v1 and the service's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from maas.inference.v1 import inference_pb2 as pb

from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import AliasReport, ModelReport
from inference_service.lifecycle.served_version import VersionReport
from inference_service.models.precision import Agreement, Precision
from inference_service.models.resident import ResidentVersion
from inference_service.pipeline.examples import Examples
from model_store.errors import InvalidInput, Violation
from model_store.modalities.image.spec import Pixels
from model_store.modalities.spec import Numbers as Values
from model_store.names import VersionName, model_name
from model_store.records.aliases import Share

_STATES = {
    VersionState.PENDING: pb.VERSION_STATE_PENDING,
    VersionState.LOADING: pb.VERSION_STATE_LOADING,
    VersionState.READY: pb.VERSION_STATE_READY,
    VersionState.DRAINING: pb.VERSION_STATE_DRAINING,
    VersionState.FAILED: pb.VERSION_STATE_FAILED,
    VersionState.UNLOADED: pb.VERSION_STATE_UNLOADED,
}

_PRECISIONS = {
    Precision.FLOAT32: pb.PRECISION_FLOAT32,
    Precision.BFLOAT16: pb.PRECISION_BFLOAT16,
    Precision.FLOAT16: pb.PRECISION_FLOAT16,
}


def read_images(images: Sequence[pb.Image], max_images: int) -> Examples:
    """Return encoded images as bytes and raw ones as uint8 [h, w, 3]; raise InvalidInput naming each that is wrong."""
    if not 1 <= len(images) <= max_images:
        raise InvalidInput.of("images", f"must be 1 to {max_images} images, not {len(images)}")
    read = [_read_image(index, image) for index, image in enumerate(images)]
    if violations := [each for each in read if isinstance(each, Violation)]:
        raise InvalidInput(*violations)
    usable = [each for each in read if not isinstance(each, Violation)]
    return Examples(usable, lambda index: f"images[{index}].{images[index].WhichOneof('content')}")


def read_top_k(top_k: int, num_labels: int) -> int:
    """Return how many labels to answer with, at most all of them; raise InvalidInput below 0."""
    if top_k < 0:
        raise InvalidInput.of("top_k", f"must be 0 or more, not {top_k}")
    return min(top_k or 5, num_labels)


def predict_response(version: ResidentVersion, scores: Values, top_k: int) -> pb.PredictResponse:
    """Answer with the best labels of each row of scores [n, labels]; the first label wins a tie."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    predictions = [
        pb.Prediction(scores=[pb.Score(label=version.names[i], score=row[i]) for i in order])
        for row, order in zip(scores, best, strict=True)
    ]
    return pb.PredictResponse(predictions=predictions, version=str(version.name))


def embed_response(version: ResidentVersion, embeddings: Values) -> pb.EmbedResponse:
    """Answer with each row of embeddings [n, d]."""
    rows = [pb.Embedding(values=row) for row in embeddings.tolist()]
    return pb.EmbedResponse(embeddings=rows, version=str(version.name))


def model_state(report: ModelReport) -> pb.ModelState:
    """Write a report."""
    return pb.ModelState(
        name=model_name(report.model_id),
        versions=[_version_report(each) for each in report.versions],
        aliases=[_served_alias(each) for each in report.aliases],
        default_version=str(report.default_version or ""),
        not_ready_reason=report.obstacle,
    )


def _read_image(index: int, image: pb.Image) -> bytes | Pixels | Violation:
    kind = image.WhichOneof("content")
    if kind is None:
        return Violation(f"images[{index}]", "must have encoded bytes or pixels")
    return image.encoded if kind == "encoded" else _read_pixels(f"images[{index}].pixels", image.pixels)


def _read_pixels(field: str, pixels: pb.Pixels) -> Pixels | Violation:
    for name, edge in (("height", pixels.height), ("width", pixels.width)):
        if edge < 1:
            return Violation(f"{field}.{name}", f"must be at least 1, not {edge}")
    size = pixels.height * pixels.width * 3
    if len(pixels.data) != size:
        return Violation(
            f"{field}.data", f"must have {pixels.height} x {pixels.width} x 3 = {size} bytes, not {len(pixels.data)}"
        )
    return np.frombuffer(pixels.data, np.uint8).reshape(pixels.height, pixels.width, 3)


def _version_report(report: VersionReport) -> pb.VersionReport:
    return pb.VersionReport(
        name=str(report.name),
        state=_STATES[report.state],
        reason=report.reason,
        update_time=_timestamp(report.updated_at),
        resident_bytes=report.resident_bytes,
        shared_bytes=report.shared_bytes,
        load_seconds=report.load_seconds,
        last_used_time=_timestamp(report.last_used_at) if report.last_used_at else None,
        pinned=report.is_pinned,
        precision=_PRECISIONS[report.precision] if report.precision else pb.PRECISION_UNSPECIFIED,
        precision_trials=[_trial(each) for each in report.agreements],
        temperature=report.temperature,
    )


def _trial(agreement: Agreement) -> pb.PrecisionTrial:
    return pb.PrecisionTrial(
        precision=_PRECISIONS[agreement.precision],
        num_rows=agreement.num_rows,
        top1_agreement=agreement.top1_agreement,
        max_score_shift=agreement.max_score_shift,
    )


def _served_alias(report: AliasReport) -> pb.ServedAlias:
    served = pb.ServedAlias(
        name=str(report.name), version=str(report.version or ""), wanted_version=str(report.wanted_version)
    )
    if report.split is not None:
        model_id, traffic = report.name.model_id, report.split.traffic
        served.canaries.extend(pb.ServedShare(**_share(model_id, each)) for each in traffic.canaries)
        if traffic.shadow is not None:
            served.shadow.MergeFrom(pb.ServedShadow(**_share(model_id, traffic.shadow), **asdict(report.split.counts)))
    return served


def _share(model_id: str, share: Share) -> dict[str, Any]:
    return {"version": str(VersionName(model_id, share.number)), "percent": share.percent}


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
