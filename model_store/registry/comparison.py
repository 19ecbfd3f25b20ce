"""The differences between two versions: metrics, stages, hyperparameters, labels. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_store.manifests import Manifest
from model_store.records.resources import ModelVersion

_UNKNOWN_ROWS = "rows that only its publisher knows"


@dataclass(frozen=True)
class MetricDifference:
    """One metric of both versions; None where a version lacks it."""

    name: str
    first: float | None
    second: float | None


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both; "" where a version lacks it.

    For a stage the digests, for a hyperparameter or a part of the manifest the values as JSON.
    """

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """The differences between two versions; `metrics` lists all metrics, equal ones too.

    Where the two were not measured on the same rows there are no `metrics`, and `obstacle` says why.
    """

    metrics: tuple[MetricDifference, ...]
    obstacle: str
    stages: tuple[Difference, ...]
    shared_bytes: int
    hyperparameters: tuple[Difference, ...]
    manifest: tuple[Difference, ...]
    added_labels: tuple[str, ...]
    removed_labels: tuple[str, ...]


def compare(
    first: ModelVersion, first_manifest: Manifest, second: ModelVersion, second_manifest: Manifest
) -> Comparison:
    """Return the differences from the first version to the second."""
    stages = [{stage.name: stage.digest for stage in version.stages} for version in (first, second)]
    kept = set(stages[0].values())
    obstacle = _obstacle(first, second)
    return Comparison(
        metrics=_metrics(first.metric_values, second.metric_values) if not obstacle else (),
        obstacle=obstacle,
        stages=_differences(*stages),
        shared_bytes=sum(stage.size_bytes for stage in second.stages if stage.digest in kept),
        hyperparameters=_differences(_flat(_recipe(first)), _flat(_recipe(second))),
        manifest=_differences(_flat(_settings(first_manifest)), _flat(_settings(second_manifest))),
        added_labels=_without(second_manifest.names, first_manifest.names),
        removed_labels=_without(first_manifest.names, second_manifest.names),
    )


def _obstacle(first: ModelVersion, second: ModelVersion) -> str:
    """Say why the metrics of two versions cannot be compared; nothing where they can, or where neither has any."""
    with_metrics = [version for version in (first, second) if version.metric_values]
    if first.name == second.name or not with_metrics:
        return ""
    if len(with_metrics) == 1:
        (other,) = {first.name, second.name} - {with_metrics[0].name}
        return f"{other} has no metrics"
    rows = [_rows_text(version) for version in with_metrics]
    if rows[0] == rows[1] != _UNKNOWN_ROWS:
        return ""
    return f"{first.name} was measured on {rows[0]}, and {second.name} on {rows[1]}: evaluate both on the same rows"


def _rows_text(version: ModelVersion) -> str:
    if version.lineage.dataset_id is None:
        return _UNKNOWN_ROWS
    split = version.metrics.split if version.metrics is not None else "test"
    return f"the {split} split of {version.lineage.dataset_name}"


def _metrics(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[MetricDifference, ...]:
    return tuple(MetricDifference(name, first.get(name), second.get(name)) for name in sorted({*first, *second}))


def _differences(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Difference, ...]:
    names = dict.fromkeys([*first, *second])
    pairs = [Difference(name, first.get(name, ""), second.get(name, "")) for name in names]
    return tuple(pair for pair in pairs if pair.first != pair.second)


def _recipe(version: ModelVersion) -> dict[str, Any]:
    return {**version.lineage.recipe, "seed": version.lineage.seed}


def _settings(manifest: Manifest) -> dict[str, Any]:
    """Return all of a manifest but its stages and labels, which are compared by themselves."""
    return {
        "architecture": {"name": manifest.architecture, "arguments": dict(manifest.arguments)},
        "input_spec": dict(manifest.input_spec),
        "head": dict(manifest.head),
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values under dotted names, as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return flat


def _without(labels: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label for label in labels if label not in set(others))
