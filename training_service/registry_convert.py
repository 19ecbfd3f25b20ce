"""Between the messages of maas.model_store.v1 and the store's records."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from maas.model_store.v1 import model_store_pb2 as pb

from model_store.manifests import Manifest
from model_store.names import dataset_name, job_name
from model_store.records import Alias, AliasMove, Lineage, Metrics, Model, ModelVersion


def model_message(model: Model) -> pb.Model:
    """Return a model."""
    return pb.Model(
        name=model.name,
        create_time=_timestamp(model.created_at),
        newest_version=model.newest_version,
        aliases=[alias_message(alias) for alias in model.aliases],
    )


def alias_message(alias: Alias) -> pb.Alias:
    """Return an alias."""
    return pb.Alias(name=str(alias.name), version=str(alias.version), update_time=_timestamp(alias.updated_at))


def move_message(move: AliasMove) -> pb.AliasMove:
    """Return one move of an alias."""
    return pb.AliasMove(
        alias=str(move.name),
        from_version=str(move.from_version) if move.from_version is not None else "",
        to_version=str(move.to_version),
        actor=move.actor,
        reason=move.reason,
        create_time=_timestamp(move.created_at),
    )


def version_message(version: ModelVersion, manifest: Manifest) -> pb.ModelVersion:
    """Return a version with its manifest."""
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
        metrics=metrics_message(version.metrics),
        create_time=_timestamp(version.created_at),
        size_bytes=version.size_bytes,
        added_bytes=version.added_bytes,
        aliases=version.aliases,
    )


def metrics_message(metrics: Metrics | None) -> pb.Metrics | None:
    """Return metrics, where they were measured."""
    if metrics is None:
        return None
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
    recipe = Struct()
    recipe.update(dict(lineage.recipe))
    return pb.Lineage(
        base=str(lineage.base) if lineage.base is not None else "",
        dataset=dataset_name(lineage.dataset_id) if lineage.dataset_id is not None else "",
        training_job=job_name(lineage.job_id) if lineage.job_id is not None else "",
        recipe=recipe,
        seed=lineage.seed,
    )


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
