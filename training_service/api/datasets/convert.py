"""Writes datasets and their rows as messages of maas.training.v1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from maas.model_store.v1.model_store_pb2 import RESOURCE_STATE_ACTIVE, RESOURCE_STATE_DELETED
from maas.training.v1 import training_pb2 as pb

from model_store.records.resources import Dataset
from training_service.api.datasets.splits import SPLITS
from training_service.api.registry_convert import timestamp
from training_service.datasets.manifest import DatasetManifest, DatasetRow, Target
from training_service.datasets.modality import Shown
from training_service.datasets.splits import Split
from training_service.datasets.targets import TARGETS

_MAX_FEATURES = 100


def dataset_message(dataset: Dataset, *, with_files: bool = True) -> pb.Dataset:
    """Return a dataset; a listing leaves out columns, and which files were rejected or look alike: they may be many."""
    summary, targets = dataset.summary, dataset.summary["targets"]
    rejected, near_duplicates, columns = (
        summary[key] if with_files else [] for key in ("rejected_files", "near_duplicates", "columns")
    )
    message = pb.Dataset(
        name=dataset.name,
        digest=dataset.digest,
        modality=summary["modality"],
        task=f"TASK_{summary['task'].upper()}",
        labels=[pb.LabelCount(label=each["label"], examples=_counts(each)) for each in targets.get("labels", [])],
        targets=[_spread(each["target"], each) for each in targets.get("targets", [])],
        example_count=dataset.num_rows,
        split_counts=pb.SplitCounts(**summary["num_rows"]),
        size_bytes=dataset.size_bytes,
        split=pb.SplitSpec(**summary["split"]),
        split_source=f"SPLIT_SOURCE_{summary['split_source'].upper()}",
        schema=_schema(columns) if columns else None,
        rejected_files=[pb.RejectedFile(**each) for each in rejected],
        rejected_file_count=summary["num_rejected_files"],
        create_time=_timestamp(dataset.created_at),
        parent=dataset.parent_name,
        near_duplicate_count=summary["num_near_duplicates"],
        split_near_duplicate_count=summary["num_split_near_duplicates"],
        near_duplicates=[
            pb.NearDuplicates(example_count=each["num_rows"], sources=each["sources"]) for each in near_duplicates
        ],
        uri=summary["uri"],
        remarks=summary["remarks"],
        state=RESOURCE_STATE_ACTIVE if dataset.deleted_at is None else RESOURCE_STATE_DELETED,
        delete_time=_timestamp(dataset.deleted_at),
        purge_time=_timestamp(dataset.purge_at),
        etag=dataset.etag,
        principal=dataset.principal,
    )
    about = _SUMMARIES[summary["modality"]](summary["about"], with_files)
    message.MergeFrom(about)
    return message


def row_messages(manifest: DatasetManifest, rows: Sequence[DatasetRow]) -> list[pb.DatasetRow]:
    """Return rows of a dataset."""
    return [
        pb.DatasetRow(
            path=row.path,
            row_number=row.number,
            target=_target(manifest, row.target),
            split=SPLITS[row.split],
            size_bytes=row.size,
            sha256=row.sha256,
        )
        for row in rows
    ]


def previewed_message(row: pb.DatasetRow, shown: Shown) -> pb.PreviewedRow:
    """Return a row in its visible form: a picture's bytes, a text, cells, or numbers."""
    if isinstance(shown, bytes):
        return pb.PreviewedRow(row=row, jpeg=shown)
    if isinstance(shown, str):
        return pb.PreviewedRow(row=row, text=shown)
    if isinstance(shown, Mapping):
        return pb.PreviewedRow(row=row, cells=pb.Cells(texts=shown))
    return pb.PreviewedRow(row=row, numbers=pb.Numbers(values=shown))


def _target(manifest: DatasetManifest, target: Target) -> pb.Target:
    kind = manifest.task.kind
    return _TARGETS[kind](TARGETS[kind].named(manifest.task, target))


_TARGETS: Mapping[str, Callable[[Any], pb.Target]] = {
    "classification": lambda label: pb.Target(label=label),
    "multi_label": lambda labels: pb.Target(labels=pb.Target.Labels(labels=labels)),
    "regression": lambda numbers: pb.Target(numbers=pb.Numbers(values=numbers)),
}


def _counts(counts: Mapping[str, Any]) -> pb.SplitCounts:
    return pb.SplitCounts(**{str(split): counts[f"num_{split}"] for split in Split})


def _spread(name: str, values: Mapping[str, Any]) -> pb.NumberSpread:
    return pb.NumberSpread(
        name=name, min=values["min"], mean=values["mean"], standard_deviation=values["std"], max=values["max"]
    )


def _schema(columns: Sequence[Mapping[str, str]]) -> pb.Schema:
    return pb.Schema(
        columns=[
            pb.Column(
                name=each["name"],
                role=f"COLUMN_ROLE_{each['role'].upper()}",
                type=f"COLUMN_TYPE_{each['type'].upper()}",
            )
            for each in columns
        ]
    )


def _image_summary(about: Mapping[str, Any], with_files: bool) -> pb.Dataset:  # noqa: ARG001, FBT001  called as one of several
    summary = pb.ImageSummary(
        width=pb.Spread(**about["width"]),
        height=pb.Spread(**about["height"]),
        pixel_mean=about["pixel_mean"],
        pixel_std=about["pixel_std"],
    )
    return pb.Dataset(image=summary)


def _values_summary(about: Mapping[str, Any], with_files: bool) -> pb.Dataset:  # noqa: FBT001  as above
    features = about["features"][:_MAX_FEATURES] if with_files else []
    summary = pb.ValuesSummary(
        feature_count=about["num_features"], features=[_spread(each["name"], each) for each in features]
    )
    return pb.Dataset(values=summary)


def _audio_summary(about: Mapping[str, Any], with_files: bool) -> pb.Dataset:  # noqa: ARG001, FBT001  as above
    summary = pb.AudioSummary(
        milliseconds=pb.Spread(**about["milliseconds"]),
        sample_rates_hertz=about["rates"],
        max_channel_count=about["max_channels"],
        silent_count=about["num_silent"],
    )
    summary.total_duration.FromMilliseconds(about["total_milliseconds"])
    return pb.Dataset(audio=summary)


def _text_summary(about: Mapping[str, Any], with_files: bool) -> pb.Dataset:  # noqa: ARG001, FBT001  as above
    summary = pb.TextSummary(characters=pb.Spread(**about["characters"]), words=pb.Spread(**about["words"]))
    return pb.Dataset(text=summary)


def _table_summary(about: Mapping[str, Any], with_files: bool) -> pb.Dataset:  # noqa: FBT001  as above
    columns = [*about["columns"], *about.get("texts", ())][:_MAX_FEATURES] if with_files else []
    return pb.Dataset(
        table=pb.TableSummary(feature_count=about["num_features"], columns=[_table_column(each) for each in columns])
    )


def _table_column(told: Mapping[str, Any]) -> pb.TableColumn:
    return pb.TableColumn(
        name=told["name"],
        type=f"COLUMN_TYPE_{told['type'].upper()}",
        missing_count=told["num_missing"],
        numbers=_spread(told["name"], told) if "mean" in told else None,
        category_count=told.get("num_categories", 0),
        frequent_categories=[category for category, _ in told.get("counts", [])],
        bucket_count=told.get("buckets", 0),
    )


_SUMMARIES: Mapping[str, Callable[[Mapping[str, Any], bool], pb.Dataset]] = {
    "image": _image_summary,
    "values": _values_summary,
    "text": _text_summary,
    "table": _table_summary,
    "audio": _audio_summary,
}


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return timestamp(moment) if moment is not None else None
