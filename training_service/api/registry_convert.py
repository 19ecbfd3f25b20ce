"""Between the messages of maas.model_store.v1 and the store's records."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from maas.model_store.v1 import model_store_pb2 as pb

from model_store.manifests import Manifest
from model_store.names import AliasName, VersionName
from model_store.records.aliases import Alias, AliasMove, Share, Traffic
from model_store.records.changes import Change, ChangeKind
from model_store.records.resources import Lineage, Model, ModelVersion, Notes, StoredCalibration, Timestamps
from model_store.registry.comparison import Comparison, Difference, MetricDifference
from model_store.transactions.lineage import LineageGraph
from training_service.api.evaluation_convert import interval_message, metrics_message
from training_service.evaluation.comparing import RowsCompared


def timestamp(moment: datetime) -> Timestamp:
    """Write a moment."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def model_message(model: Model) -> pb.Model:
    """Write a model."""
    return pb.Model(
        name=model.name,
        last_version_number=model.last_number,
        aliases=[alias_message(alias) for alias in model.aliases],
        **_kept(model.notes, model.timestamps),
    )


def alias_message(alias: Alias) -> pb.Alias:
    """Write an alias."""
    return pb.Alias(
        name=str(alias.name),
        version=str(alias.version),
        update_time=timestamp(alias.updated_at),
        etag=alias.etag,
        **_traffic(alias.traffic, alias.name.model_id),
    )


def move_message(move: AliasMove) -> pb.AliasMove:
    """Write one entry of an alias's history."""
    return pb.AliasMove(
        alias=str(move.name),
        from_version=str(move.from_version or ""),
        to_version=str(move.to_version or ""),
        actor=move.actor,
        reason=move.reason,
        create_time=timestamp(move.created_at),
        refused=move.is_refused,
        principal=move.principal,
        **_traffic(move.traffic, move.name.model_id),
    )


def version_message(
    version: ModelVersion, manifest: Manifest | None = None, base_manifest_digest: str = ""
) -> pb.ModelVersion:
    """Write a version, with its manifest and its base's manifest if they are given."""
    return pb.ModelVersion(
        name=str(version.name),
        manifest_digest=version.manifest_digest,
        architecture=version.architecture,
        stages=[
            pb.Stage(name=stage.name, digest=stage.digest, size_bytes=stage.size_bytes) for stage in version.stages
        ],
        input_files=[
            pb.InputFile(name=file.name, digest=file.digest, size_bytes=file.size_bytes) for file in version.files
        ],
        modality=version.modality,
        task=f"TASK_{version.task.upper()}" if version.task is not None else None,
        output_count=version.num_outputs,
        labels=manifest.names if manifest is not None else (),
        manifest_json=manifest.to_json().decode() if manifest is not None else "",
        temperature=manifest.task.temperature if manifest is not None and manifest.task is not None else None,
        lineage=_lineage_message(version.lineage, base_manifest_digest),
        metrics=metrics_message(version.metrics) if version.metrics is not None else None,
        metric_values=version.metric_values,
        size_bytes=version.size_bytes,
        added_bytes=version.added_bytes,
        aliases=[str(AliasName(version.name.model_id, alias)) for alias in version.aliases],
        principal=version.principal,
        calibration=_calibration_message(version.calibration) if version.calibration is not None else None,
        **_kept(version.notes, version.timestamps),
    )


def comparison_message(
    first: VersionName, second: VersionName, comparison: Comparison, rows: RowsCompared | None
) -> pb.CompareModelVersionsResponse:
    """Write the differences between two versions, and what they are on the rows in common.

    Where these are the only rows on which both were measured, the metrics are those of them.
    """
    is_of_rows = rows is not None and bool(comparison.obstacle)
    metrics = comparison.metrics
    if rows is not None and is_of_rows:
        metrics = tuple(MetricDifference(name, *figures) for name, figures in sorted(rows.metrics.items()))
    return pb.CompareModelVersionsResponse(
        first=str(first),
        second=str(second),
        metrics=[
            pb.CompareModelVersionsResponse.MetricDifference(name=each.name, first=each.first, second=each.second)
            for each in metrics
        ],
        stages=_differences(comparison.stages),
        shared_bytes=comparison.shared_bytes,
        hyperparameters=_differences(comparison.hyperparameters),
        manifest=_differences(comparison.manifest),
        added_labels=comparison.added_labels,
        removed_labels=comparison.removed_labels,
        metrics_obstacle=comparison.obstacle if not is_of_rows else "",
        rows=_rows_message(rows) if rows is not None else None,
        metrics_of_common_rows=is_of_rows,
    )


def _rows_message(rows: RowsCompared) -> pb.CompareModelVersionsResponse.RowComparison:
    found = rows.difference
    return pb.CompareModelVersionsResponse.RowComparison(
        row_count=found.num_rows,
        cross_validated=rows.is_cross_validated,
        metric=rows.metric,
        first=found.other,
        second=found.figure,
        interval=interval_message(found.interval),
        p_value=found.p_value,
        larger_than_noise=found.is_better or found.is_worse,
    )


def lineage_graph_message(graph: LineageGraph) -> pb.LineageGraph:
    """Write a family."""
    return pb.LineageGraph(
        nodes=[
            pb.LineageGraph.Node(
                name=node.name,
                state=f"STATE_{node.state.upper()}",
                create_time=_optional(node.created_at),
                principal=node.principal,
            )
            for node in graph.nodes
        ],
        edges=[
            pb.LineageGraph.Edge(source=edge.source, target=edge.target, role=f"ROLE_{edge.role.upper()}")
            for edge in graph.edges
        ],
        truncated=graph.is_truncated,
    )


def change_message(change: Change) -> pb.Change:
    """Write one entry of the change feed."""
    return pb.Change(
        sequence=change.sequence,
        kind=f"KIND_{change.kind.upper()}" if change.kind in set(ChangeKind) else None,
        resource=change.resource,
        create_time=timestamp(change.created_at),
        principal=change.principal,
    )


def _traffic(traffic: Traffic, model_id: str) -> dict[str, Any]:
    """Return the fields with the shares of other versions."""

    def message(share: Share) -> pb.VersionShare:
        return pb.VersionShare(version=str(VersionName(model_id, share.number)), percent=share.percent)

    shadow = message(traffic.shadow) if traffic.shadow is not None else None
    return {"canaries": [message(share) for share in traffic.canaries], "shadow": shadow}


def _kept(notes: Notes, timestamps: Timestamps) -> dict[str, Any]:
    """Return the fields that models and versions have in common."""
    deleted, active = pb.RESOURCE_STATE_DELETED, pb.RESOURCE_STATE_ACTIVE
    return {
        "description": notes.description,
        "tags": notes.tags,
        "etag": timestamps.etag,
        "state": deleted if timestamps.is_deleted else active,
        "create_time": timestamp(timestamps.created_at),
        "update_time": timestamp(timestamps.updated_at),
        "delete_time": _optional(timestamps.deleted_at),
        "purge_time": _optional(timestamps.purge_at),
    }


def _optional(moment: datetime | None) -> Timestamp | None:
    return timestamp(moment) if moment is not None else None


def _differences(differences: Iterable[Difference]) -> list[pb.CompareModelVersionsResponse.Difference]:
    return [
        pb.CompareModelVersionsResponse.Difference(name=each.name, first=each.first, second=each.second)
        for each in differences
    ]


def _calibration_message(calibration: StoredCalibration) -> pb.Calibration:
    return pb.Calibration(
        rows_digest=calibration.rows,
        logits_digest=calibration.logits,
        rows_size_bytes=calibration.rows_bytes,
        logits_size_bytes=calibration.logits_bytes,
    )


def _lineage_message(lineage: Lineage, base_manifest_digest: str) -> pb.Lineage:
    message = pb.Lineage(
        base=str(lineage.base or ""),
        dataset=lineage.dataset_name,
        training_job=lineage.job_name,
        seed=lineage.seed,
        base_manifest_digest=base_manifest_digest,
    )
    message.recipe.update(lineage.recipe)
    return message
