"""Checks whether the examples of a dataset fit a version."""

from __future__ import annotations

from model_store.errors import InvalidInput
from model_store.modalities import InputSpec
from model_store.records.resources import Dataset
from training_service.modalities import MODALITIES


def check_fits(spec: InputSpec, version: str, dataset: Dataset, field: str) -> None:
    """Raise InvalidInput for a field, naming a version's examples, if the examples of a dataset are others."""
    modality = dataset.summary["modality"]
    if spec.kind != modality:
        raise InvalidInput.of(
            field, f"{version} takes examples of the modality {spec.kind}, and {dataset.name} has those of {modality}"
        )
    if reason := MODALITIES[modality].misfit(spec, dataset.summary["about"]):
        raise InvalidInput.of(field, f"{version} {reason}")
