"""Reads a registry by an operator's policies."""

from __future__ import annotations

from typing import Any

from inference_service.desired.desired_versions import DesiredVersions, Policies, WantedModel
from model_store.registry.models import ModelStore
from model_store.registry.serving_view import ServingView


def desired_of(store: ModelStore, **policies: Any) -> DesiredVersions:
    """Read a registry by these policies."""
    return DesiredVersions(store, ServingView(store._database), Policies(**policies))


def numbers(wanted: WantedModel) -> set[int]:
    """Return the wanted version numbers."""
    return {name.number for name in wanted.versions}
