"""Between the messages of maas.model_store.v1 and the store's records."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from maas.model_store.v1 import model_store_pb2 as pb

from model_store.manifests import Manifest
from model_store.records import Alias, AliasMove, Lineage, Metrics, Model, ModelVersion


def timestamp(moment: datetime) -> Timestamp:
    """Write a moment."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def model_message(model: Model) -> pb.Model:
    """Write a model."""
    return pb.Model(
        name=model.name,
        create_time=timestamp(model.created_at),
        newest_version=model.newest_version,
        aliases=[alias_message(alias) for alias in model.aliases],
    )


def alias_message(alias: Alias) -> pb.Alias:
    """Write an alias."""
    return pb.Alias(name=str(alias.name), version=str(alias.version), update_time=timestamp(alias.updated_at))


def move_message(move: AliasMove) -> pb.AliasMove:
    """Write one entry of an alias's history."""
    return pb.AliasMove(
        alias=str(move.name),
        from_version=str(move.from_version or ""),
        to_version=str(move.to_version),
        actor=move.actor,
        reason=move.reason,
        create_time=timestamp(move.created_at),
    )


def version_message(version: ModelVersion, manifest: Manifest) -> pb.ModelVersion:
    """Write a version with its manifest."""
    return pb.ModelVersion(
        name=str(version.name),
        manifest_digest=version.manifest_digest,
        architecture=version.architecture,
        stages=[
            pb.Stage(name=stage.name, digest=stage.digest, size_bytes=stage.size_bytes) for stage in version.stages
        ],
        labels=manifest.labels,
        manifest_json=manifest.to_json().decode(),
        lineage=_lineage_message(version.lineage),
        metrics=metrics_message(version.metrics) if version.metrics is not None else None,
        create_time=timestamp(version.created_at),
        size_bytes=version.size_bytes,
        added_bytes=version.added_bytes,
        aliases=version.aliases,
    )


def metrics_message(metrics: Metrics) -> pb.Metrics:
    """Write metrics."""
    return pb.Metrics(
        split=metrics.split,
        num_rows=metrics.num_rows,
        accuracy=metrics.accuracy,
        macro_f1=metrics.macro_f1,
        expected_calibration_error=metrics.expected_calibration_error,
        labels=[
            pb.LabelMetrics(
                label=each.label, precision=each.precision, recall=each.recall, f1=each.f1, support=each.support
            )
            for each in metrics.labels
        ],
        confusion_matrix=[pb.ConfusionRow(counts=row) for row in metrics.confusion_matrix],
    )


def _lineage_message(lineage: Lineage) -> pb.Lineage:
    message = pb.Lineage(
        base=str(lineage.base or ""),
        dataset=lineage.dataset_name,
        training_job=lineage.job_name,
        seed=lineage.seed,
    )
    message.recipe.update(lineage.recipe)
    return message
